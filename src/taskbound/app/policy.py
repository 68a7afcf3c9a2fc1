"""A look at a policy directory without a world."""

from pathlib import Path

from taskbound.app.places import login
from taskbound.core.config import Config
from taskbound.core.policy_dir import PolicyDir, operator_policy
from taskbound.plugins.policies.files import PolicyFiles


def check_policy(directory: Path, config: Config) -> PolicyDir:
    """Return a policy directory as our `up` would load it, without whom it registers. Raises InvalidRequest."""
    targets = {resource: target for one in config.targets for resource, target in one.targets().items()}
    return PolicyFiles(directory, targets, operator_policy(f"human/{login()}")).read()
