"""OWASP's numbers: the Non-Human Identities Top 10 2025, and what each leads to in the Agentic Top 10 2026."""

from collections.abc import Mapping

# What each NHI number leads to in the Agentic Top 10 (ASI): the appendix of that publication.
ASI: Mapping[int, tuple[str, ...]] = {
    1: ("ASI03",),
    2: ("ASI03",),
    3: ("ASI04",),
    4: ("ASI03",),
    5: ("ASI03",),
    6: ("ASI04", "ASI07"),
    7: ("ASI03",),
    8: ("ASI05", "ASI08"),
    9: ("ASI03",),
    10: ("ASI09",),
}
TITLES: Mapping[int, str] = {
    1: "Improper Offboarding",
    2: "Secret Leakage",
    3: "Vulnerable Third-Party NHI",
    4: "Insecure Authentication",
    5: "Overprivileged NHI",
    6: "Insecure Cloud Deployment Configurations",
    7: "Long-Lived Secrets",
    8: "Environment Isolation",
    9: "NHI Reuse",
    10: "Human Use of NHI",
}
