import json
from pathlib import Path

import pytest

from studio.model.modelfile import derive, modelfile
from studio.model.tokenizer import LightTokenizer, open_tokenizer

SMOL = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% if m.role == 'user' %}[INST]{{ m.content | trim }}[/INST]{% else %}{{ m.content }}<|im_end|>{% endif %}"
    "{% endfor %}"
)
HISTORY_UNLIKE = (
    "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' and not loop.last %}(old){% endif %}"
    "{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


def with_template(source: Path, folder: Path, template: str) -> LightTokenizer:
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    (folder / "chat_template.jinja").write_text(template)
    return open_tokenizer(folder, folder)


def test_the_template_is_taken_apart_into_ollamas_language(tiny_chat_model: Path) -> None:
    pieces, why = derive(open_tokenizer(tiny_chat_model, tiny_chat_model))
    assert (why, pieces and pieces.go) == (
        "",
        "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}"
        '{{ range .Messages }}{{ if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '<|im_start|>assistant\n{{ else if eq .Role "assistant" }}{{ .Content }}<|im_end|>\n{{ end }}{{ end }}',
    )


def test_a_default_system_message_stands_where_none_is_given(tiny_chat_model: Path, tmp_path: Path) -> None:
    pieces, _ = derive(with_template(tiny_chat_model, tmp_path / "m", SMOL))
    assert pieces is not None
    assert pieces.without_system == "<|im_start|>system\nBe kind<|im_end|>\n"
    assert "{{ else }}<|im_start|>system\nBe kind<|im_end|>\n{{ end }}" in pieces.go


def test_a_template_without_system_messages_is_told(tiny_chat_model: Path, tmp_path: Path) -> None:
    with_template(tiny_chat_model, tmp_path / "m", NO_SYSTEM)
    text, notes = modelfile(tmp_path / "m", {})
    assert "takes no system message" in text
    assert "[INST]{{ .Content }}[/INST]" in text
    assert notes == []


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (HISTORY_UNLIKE, "taken apart|unlike the last"),
        ("{{ messages[-1]['content'] }}", "taken apart"),
        ("{% for m in messages %}{{ '{{' }}{{ m.content }}{% endfor %}", "braces"),
        ("{{ raise_exception('no') }}", "taken apart"),
    ],
)
def test_what_cannot_be_said_there_is_left_out_with_the_reason(
    template: str, reason: str, tiny_chat_model: Path, tmp_path: Path
) -> None:
    with_template(tiny_chat_model, tmp_path / "m", template)
    text, notes = modelfile(tmp_path / "m", {"max_position_embeddings": 4096})
    assert "TEMPLATE " not in text.replace("no TEMPLATE", "")
    assert any(word in notes[0] for word in reason.split("|"))
    assert f"# {notes[0]}" in text


def test_the_modelfile_stops_at_every_end_token_and_knows_the_context(tiny_chat_model: Path, tmp_path: Path) -> None:
    tokenizer = with_template(tiny_chat_model, tmp_path / "m", SMOL)
    end = tokenizer.fast.token_to_id("<|endoftext|>")
    (tmp_path / "m" / "generation_config.json").write_text(json.dumps({"eos_token_id": [tokenizer.eos_id, end]}))
    text, _ = modelfile(tmp_path / "m", {"max_position_embeddings": 131072})
    assert "FROM .\n" in text
    assert 'PARAMETER stop "<|im_end|>"\nPARAMETER stop "<|endoftext|>"\nPARAMETER num_ctx 8192\n' in text


def test_a_model_without_template_gets_a_modelfile_without_one(tiny_model: Path) -> None:
    text, notes = modelfile(tiny_model, {})
    assert notes == ["the Modelfile has no TEMPLATE: the model has no chat template"]
    assert 'PARAMETER stop "<|endoftext|>"' in text
