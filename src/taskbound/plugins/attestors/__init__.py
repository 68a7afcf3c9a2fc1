"""Attestors: what a workload is, learned from the machine it runs on."""
