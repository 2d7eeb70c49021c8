"""What a start checks before it loads a model."""

from studio.preflight.packages import TRACKERS, unusable_trackers


def test_the_trackers_are_those_of_transformers() -> None:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    assert sorted(TRACKERS) == sorted(INTEGRATION_TO_CALLBACK)


def test_a_tracker_that_is_none_and_one_that_is_not_installed_are_told_apart() -> None:
    assert unusable_trackers(["none"]) == unusable_trackers(["all"]) == []
    (none,) = unusable_trackers(["json"])
    assert none.startswith("--report_to json: must be one of none, all, azure_ml, ")
    assert unusable_trackers(["wanbd"])[0].endswith("Did you mean wandb?")
    (missing,) = unusable_trackers(["flyte"])
    assert missing.startswith("--report_to flyte: its package is not installed.")
