import json
import shutil
from pathlib import Path

import pytest

from studio.arguments.generation import GenerationArguments
from studio.errors import ModelError
from studio.model.generate import BATCH, answer, open_speaker
from tests.unit.model.tiny import adapter, exported, gpt2

SHORT = GenerationArguments(max_new_tokens=8)


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_an_answer_does_not_depend_on_who_else_is_in_the_batch(tiny_chat_model: Path, tmp_path: Path) -> None:
    questions = [ask("tokyo " * n) for n in (1, 5, 2, 9, 3, 7, 4, 8, 6, 1)]
    assert len(questions) > BATCH
    speaker = open_speaker(tiny_chat_model, cache=tmp_path)
    together = speaker.answer(questions, SHORT)
    assert together == [speaker.answer([question], SHORT)[0] for question in questions]
    assert together[0] == together[-1]


def test_an_adapter_answers_as_its_export_does(tiny_chat_model: Path, tmp_path: Path) -> None:
    trained = adapter(tiny_chat_model, tmp_path / "run", target_modules=["q_proj", "down_proj"], lora_alpha=64)
    exported(tiny_chat_model, [trained], tmp_path / "out")
    questions = [ask("Where is paris?"), ask("Do you know lima?")]
    kept = answer(trained, questions, SHORT, cache=tmp_path)
    assert kept == answer(tmp_path / "out", questions, SHORT, cache=tmp_path)
    assert kept != answer(tiny_chat_model, questions, SHORT, cache=tmp_path)


def test_chance_only_comes_in_when_asked_for(tiny_chat_model: Path, tmp_path: Path) -> None:
    speaker = open_speaker(tiny_chat_model, cache=tmp_path)
    assert len({speaker.answer([ask("paris")], SHORT)[0] for _ in range(3)}) == 1
    drawn = GenerationArguments(do_sample=True, temperature=2.0, max_new_tokens=8)
    assert len({speaker.answer([ask("paris")], drawn)[0] for _ in range(3)}) > 1


def test_a_plain_text_needs_no_template_but_a_conversation_does(tiny_model: Path, tmp_path: Path) -> None:
    speaker = open_speaker(tiny_model, cache=tmp_path)
    assert len(speaker.answer(["The secret code of"], SHORT)) == 1
    with pytest.raises(ModelError, match="needs a chat template"):
        speaker.answer([ask("paris")], SHORT)


def test_a_prompt_beyond_the_context_is_refused(tiny_chat_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="shorter than the model's context of 4096 tokens"):
        open_speaker(tiny_chat_model, cache=tmp_path).answer([ask("7" * 5000)], SHORT)


def test_an_adapter_without_its_base_says_what_to_name(tiny_chat_model: Path, tmp_path: Path) -> None:
    trained = adapter(tiny_chat_model, tmp_path / "run")
    config = json.loads((trained / "adapter_config.json").read_text())
    (trained / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "gone/away"}))
    with pytest.raises(ModelError, match="names 'gone/away', which is no model folder"):
        open_speaker(trained, cache=tmp_path)
    assert answer(trained, [ask("paris")], SHORT, cache=tmp_path, base=tiny_chat_model)


def test_an_adapter_on_another_base_is_refused(tiny_chat_model: Path, tmp_path: Path) -> None:
    trained = adapter(tiny_chat_model, tmp_path / "run")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_chat_model / name, trained / name)
    with pytest.raises(ModelError, match="must fit its base"):
        open_speaker(trained, cache=tmp_path, base=gpt2(tmp_path / "other"))
