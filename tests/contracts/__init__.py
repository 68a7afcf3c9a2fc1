"""One public suite per port, run for every implementation; why a port has none stands in ALONE.

A suite says what any implementation must do. Of one implementation its own tests say the same without a detour, and
the worlds of all other tests are given the real one. Whoever writes a second one makes the suite of what those
tests say of the first, and takes the port out of ALONE (test_suites.py counts them).
"""

SUITES = {
    "Store": "store",
    "Transaction": "store",
    "Provider": "provider",
    "Probes": "probes",
    "Checked": "checked",
    "Log": "log",
    "Keys": "keys",
    "Checkpoints": "checkpoints",
    "Sink": "sink",
    "Upstream": "upstream",
    "Issuer": "issuer",
}
# port -> the folder of plug-ins or the module that gives it, and the tests of the one that is there
ALONE = {
    "Policies": ("policies", "plugins/test_policy_files.py"),  # memory worlds read a real folder too
    "Attestor": ("attestors", "plugins/test_unix_attestor.py"),  # real processes at real sockets
    "Archive": ("archives", "cli/test_audit.py"),  # `write` alone; tests of the log keep its files in a dictionary
    "Addressed": ("providers/postgres", "plugins/test_postgres_faults.py"),  # of the providers only this one has it
    "Discoverer": ("discoverers", "plugins/test_discoverer_files.py"),  # parsers, of which there are many, have a suite
    "Origin": ("net", "plugins/test_net.py"),  # there is to be one way out
    "Answer": ("net", "plugins/test_net.py"),
}
