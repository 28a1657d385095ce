"""The engine treats a kind of job as data: it neither imports nor names anything of the nested job."""

import ast
from pathlib import Path

import pytest

import kns.engine
from kns.model.job.conditions import ConditionType

FOLDER = Path(kns.engine.__file__).parent
MODULES = sorted(FOLDER.glob("*.py"))
MAY_IMPORT = {"kns.stages.lifecycle", "kns.stages.outcome", "kns.stages.orphans", "kns.objects.event"}
WORDS = ("vcluster", "virtual", "control plane", "control_plane", "shell", "keycloak", "vault", "ingress", "helm")
# The conditions about the job as a whole. All others belong to stages.
CONDITIONS = {ConditionType.ASLEEP, ConditionType.DRAINED, ConditionType.ENDED, ConditionType.REMOVED}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_it_imports_no_stage_and_no_builder_of_a_job(module: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(module.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
    found = {str(node.module) for node in imports if str(node.module).startswith(("kns.stages", "kns.objects"))}
    assert found <= MAY_IMPORT


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_it_names_no_part_of_a_nested_job(module: Path) -> None:
    text = module.read_text("utf-8").lower()
    assert [word for word in WORDS if word in text] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_it_knows_no_condition_of_a_stage(module: Path) -> None:
    tree = ast.walk(ast.parse(module.read_text("utf-8")))
    named = {
        node.attr for node in tree if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "ConditionType"
    }
    assert named <= {condition.name for condition in CONDITIONS}


def test_there_is_something_to_read() -> None:
    assert len(MODULES) > 8
