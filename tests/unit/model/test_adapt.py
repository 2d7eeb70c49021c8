"""What learns, told as it is; and adapters that cannot be put on, refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import GPT2LMHeadModel, MambaConfig, MambaForCausalLM, MixtralConfig, MixtralForCausalLM

from studio.arguments.method import MethodArguments
from studio.errors import ModelError
from studio.model.adapt import adapt, told
from studio.model.adapter import lay_on
from tests.unit.model.tiny import gpt2, qwen


def test_the_sentence_names_the_layers_and_the_experts_that_stay() -> None:
    config = MixtralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=2,
    )  # fmt: skip
    said = told(adapt(MixtralForCausalLM(config), MethodArguments(), ()))
    assert "adapters on k_proj, o_proj, q_proj, v_proj" in said
    assert "the experts (down_proj, gate_up_proj) stay as they are" in said


def test_a_plain_model_has_no_experts_to_warn_of(tmp_path: Path) -> None:
    model = GPT2LMHeadModel.from_pretrained(gpt2(tmp_path))
    assert "warning" not in told(adapt(model, MethodArguments(), ()))


def test_layers_that_peft_refuses_are_a_sentence() -> None:
    config = MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, state_size=4, use_mambapy=False)
    with pytest.raises(ModelError, match="--lora_target, or use --finetuning_type full"):
        adapt(MambaForCausalLM(config), MethodArguments(), ())


def test_an_adapter_of_another_model_is_a_sentence(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(qwen(tmp_path / "qwen"))
    get_peft_model(other, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    model = GPT2LMHeadModel.from_pretrained(gpt2(tmp_path / "gpt2"))
    with pytest.raises(ModelError, match="must have been trained on this model"):
        adapt(model, MethodArguments(), [tmp_path / "adapter"])


def test_an_adapter_of_a_model_of_other_widths_is_one_sentence_wherever_it_is_laid(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

    learned = AutoModelForCausalLM.from_pretrained(qwen(tmp_path / "qwen"))
    get_peft_model(learned, LoraConfig(target_modules=["q_proj", "v_proj"])).save_pretrained(tmp_path / "adapter")
    shape = {"vocab_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    wide = Qwen2ForCausalLM(Qwen2Config(**shape, hidden_size=64, num_key_value_heads=2))
    with pytest.raises(ModelError) as told_of:
        lay_on(wide, tmp_path / "adapter")
    sentence = str(told_of.value)
    assert sentence.count("size mismatch") == 1 and sentence.endswith("Name the base it was trained on.")


@pytest.mark.parametrize("asked", ["embed_tokens", "embed_tokens,lm_head"])
def test_embeddings_that_learn_whole_stay_one_with_the_head_they_are_tied_to(tmp_path: Path, asked: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = qwen(tmp_path / "base")
    learner = adapt(AutoModelForCausalLM.from_pretrained(folder), MethodArguments(additional_target=asked), ())
    ids = torch.tensor([[1, 5, 9]])
    optimizer = torch.optim.SGD([weight for weight in learner.parameters() if weight.requires_grad], lr=0.5)
    learner(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    ends = learner.get_input_embeddings(), learner.get_output_embeddings()
    first, last = (end.modules_to_save["default"].weight for end in ends)
    assert first is last
    merged = learner.merge_and_unload()
    assert torch.equal(merged.get_input_embeddings().weight, merged.get_output_embeddings().weight)
    before = AutoModelForCausalLM.from_pretrained(folder)
    assert not torch.equal(merged.get_input_embeddings().weight, before.get_input_embeddings().weight)
