import gc
import shutil
from pathlib import Path

import pytest

from studio.arguments.generation import GenerationArguments
from studio.arguments.model import ModelArguments
from studio.arguments.serve import EngineArguments
from studio.arguments.template import TemplateArguments
from studio.errors import ArgumentError, ModelError, UsageError
from studio.serve.opening import Parts, open_engine, open_prompter, parts_of, without_collections
from studio.workspace import Workspace
from tests.unit.model.tiny import adapter

ASK = [{"role": "user", "content": "Where is paris?"}]


def nothing(_: str) -> None:
    """Says nothing."""


def answered(parts: Parts, place: Workspace, model: ModelArguments, **asked: object) -> str:
    prompter = open_prompter(parts, TemplateArguments(), place, nothing)
    engine = open_engine(parts, prompter, model, EngineArguments(**asked), waiting=1, place=place, say=nothing)
    try:
        return engine.start(ASK, GenerationArguments(max_new_tokens=8)).text()
    finally:
        engine.stop()


def test_a_model_answers_and_in_other_precisions_too(workspace: Workspace) -> None:
    folder = workspace.models / "tiny-chat"
    model = ModelArguments(model_name_or_path="models/tiny-chat")
    parts = parts_of(folder, [], model, workspace, "chat")
    assert parts == Parts(folder, None, folder)
    plain = answered(parts, workspace, model)
    assert plain == answered(parts, workspace, ModelArguments(flash_attn="disabled"))
    assert answered(parts, workspace, model, infer_dtype="bfloat16")


def test_a_base_in_four_bits_answers(workspace: Workspace) -> None:
    pytest.importorskip("bitsandbytes")
    folder = workspace.models / "tiny-chat"
    model = ModelArguments(quantization_bit=4)
    assert answered(parts_of(folder, [], model, workspace, "chat"), workspace, model)


def test_a_tokenizer_of_ones_own_is_used_and_must_fit(workspace: Workspace, tiny_tokenizer_folder: Path) -> None:
    model = ModelArguments(tokenizer_name_or_path="models/other")
    folder = workspace.models / "tiny-chat"
    with pytest.raises(ModelError, match="models/other"):
        parts_of(folder, [], model, workspace, "chat")
    shutil.copytree(tiny_tokenizer_folder, workspace.models / "other")
    parts = parts_of(folder, [], model, workspace, "chat")
    said: list[str] = []
    prompter = open_prompter(parts, TemplateArguments(), workspace, said.append)
    assert prompter.tokenizer.folder == workspace.models / "other"
    assert said == ["template: default, because other has no chat template of its own"]


def test_the_template_carries_what_was_asked_of_it(workspace: Workspace) -> None:
    folder = workspace.models / "tiny-chat"
    parts = parts_of(folder, [], ModelArguments(), workspace, "chat")
    asked = TemplateArguments(template="chatml", default_system="Be kind.")
    assert "Be kind." in open_prompter(parts, asked, workspace, nothing).prompt(ASK)


def test_several_adapters_are_refused(workspace: Workspace) -> None:
    two = [workspace.models / "a", workspace.models / "b"]
    with pytest.raises(ArgumentError, match="studio api takes one adapter; merge several"):
        parts_of(workspace.models / "tiny-chat", two, ModelArguments(), workspace, "api")


def test_an_engine_that_is_not_installed_says_how_to_get_it(workspace: Workspace) -> None:
    folder = workspace.models / "tiny-chat"
    parts = parts_of(folder, [], ModelArguments(), workspace, "chat")
    with pytest.raises(UsageError, match=r"pip install 'studio\[vllm\]'"):
        answered(parts, workspace, ModelArguments(), infer_backend="vllm")


def test_vllm_is_not_given_an_adapter_with_rows_that_it_would_not_read(workspace: Workspace) -> None:
    base = workspace.models / "tiny-chat"
    trained = adapter(base, workspace.saves / "rows", target_modules=["q_proj"], trainable_token_indices=[7])
    parts = parts_of(base, [trained], ModelArguments(), workspace, "api")
    with pytest.raises(ArgumentError, match="holds rows of the embeddings of its own, which vllm does not read"):
        answered(parts, workspace, ModelArguments(), infer_backend="vllm")


def test_the_collector_is_off_only_while_a_program_starts() -> None:
    with without_collections():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.unfreeze()
