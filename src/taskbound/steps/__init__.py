"""The verbs, one file each: what happens, in the order of the flow."""
