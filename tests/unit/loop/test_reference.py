"""The reference is the model as it was, and asking it leaves the one that learns as it is."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

from studio.arguments.method import MethodArguments
from studio.loop.reference import AdapterOff, AnotherModel, StartingWeights, adds_nothing, reference_for

IDS = torch.arange(12)[None]


def bare(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    shape = {
        "vocab_size": 40, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "attention_dropout": 0.5,
    }  # fmt: skip
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**shape))


def adapted(**more: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=2, target_modules=["q_proj", "o_proj"], lora_dropout=0.5, **more)
    return get_peft_model(bare(), settings)


def parts(kind: str, adapter: tuple[str, ...] = ()) -> Any:
    """What of a run's parts a reference looks at."""
    said: list[str] = []
    recipe = SimpleNamespace(
        own=SimpleNamespace(), method=MethodArguments(finetuning_type=kind),
        model=SimpleNamespace(adapter_name_or_path=adapter, create_new_adapter=False),
    )  # fmt: skip
    return SimpleNamespace(recipe=recipe, say=said.append, said=said)


def learn(model: Any) -> None:
    """Move every weight that learns."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.5


@pytest.mark.parametrize(
    ("kind", "more", "continued", "which"),
    [
        ("full", None, False, StartingWeights),
        ("lora", {}, False, AdapterOff),
        ("lora", {"init_lora_weights": False}, True, StartingWeights),
        # What PiSSA took out of the base is only in the adapter, so the base alone is not where the run began.
        ("lora", {"init_lora_weights": "pissa"}, False, StartingWeights),
    ],
    ids=["full", "new adapter", "adapter that goes on", "pissa"],
)
def test_it_gives_what_the_model_gave_at_the_start(kind: str, more: Any, continued: bool, which: type):
    model = bare() if more is None else adapted(**more)
    model.eval()
    start = model(input_ids=IDS).logits
    run = parts(kind, ("saves/a",) if continued else ())
    reference = reference_for(model, run)
    assert type(reference) is which
    assert run.said == [reference.told]
    learn(model)
    model.train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    learning = [name for name, weight in model.named_parameters() if weight.requires_grad]
    with reference.policy(model) as frozen:
        assert not torch.is_grad_enabled()
        assert torch.allclose(frozen(input_ids=IDS).logits, start, atol=1e-6)
    assert model.training and all(module.training for module in model.modules())
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == learning
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not torch.allclose(model.eval()(input_ids=IDS).logits, start, atol=1e-3)


def test_an_error_inside_leaves_the_learned_weights_in_place():
    model = bare()
    reference = StartingWeights(model, "")
    learn(model)
    before = model.lm_head.weight.detach().clone()
    with pytest.raises(KeyError), reference.policy(model):
        raise KeyError
    assert torch.equal(model.lm_head.weight, before)


def test_weights_that_do_not_learn_are_not_copied():
    model = adapted(init_lora_weights=False)
    kept = StartingWeights(model, "").kept
    assert kept and all("lora_" in name for name in kept)


def test_another_model_neither_learns_nor_drops():
    other = bare(1).train()
    reference = AnotherModel(other, "reference: another")
    with reference.policy(bare()) as frozen:
        assert frozen is other and not frozen.training
    assert not any(weight.requires_grad for weight in other.parameters())


def test_an_adapter_with_a_bias_that_learns_is_not_only_an_addition():
    assert adds_nothing(adapted())
    assert not adds_nothing(adapted(bias="lora_only"))


def test_the_gradients_of_a_pass_before_do_not_suffer():
    model = bare()
    reference = StartingWeights(model, "")
    learn(model)
    model.eval()
    loss = model(input_ids=IDS).logits.square().mean()
    with reference.policy(model) as frozen:
        frozen(input_ids=IDS)
    loss.backward()
    found = model.lm_head.weight.grad.clone()
    model.zero_grad()
    model(input_ids=IDS).logits.square().mean().backward()
    assert torch.equal(found, model.lm_head.weight.grad)
