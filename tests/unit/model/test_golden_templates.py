"""Named templates whose published form trl does not carry: the published text, and where it was published."""

from __future__ import annotations

import importlib.metadata

import pytest

from studio.model.embedded import PACKAGE, gguf_file
from studio.model.templates import GENERATION, NAMED, Template
from tests.unit.model.talks import PLAIN, QUESTION, TOOLS, WITH_SYSTEM, answer, call, calling, result, system, user

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}


def template(name: str) -> Template:
    source = (NAMED / f"{name}.jinja").read_text(encoding="utf-8")
    return Template(name, source, "a test", bool(GENERATION.search(source)))


ROUNDS = [
    system("You are a helpful assistant"),
    user("Hello"),
    answer("Hi there"),
    user("Who are you"),
    answer("   I am an assistant   "),
    user("Another question"),
]


def test_mistral_as_published() -> None:
    """github.com/ggml-org/llama.cpp, tests/test-chat-template.cpp at 03f94f19a2c4c9d039fa1a84838fe3e2110cc28d.

    "Mistral-Large-Instruct-2407 (mistralai 'v3' template)", the output of its Jinja text; bos_token is empty there.
    """
    assert template("mistral").render(ROUNDS, special={"eos_token": "</s>"}, add_generation_prompt=True) == (
        "[INST] Hello[/INST] Hi there</s>[INST] Who are you[/INST] I am an assistant</s>"
        "[INST] You are a helpful assistant\n\nAnother question[/INST]"
    )


def test_mistral_with_tools_as_published() -> None:
    """The Jinja text of the same model in the same file: where tools, calls, results and ids stand."""
    talk = [
        user("Time?"),
        calling(call("clock"), call("get_weather", city="上海")),
        result("12:30"),
        result('{"a": 1}'),
    ]
    clock = '{"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": '
    assert template("mistral").render(talk, special=SPECIAL, tools=TOOLS[1:]) == (
        "<s>[AVAILABLE_TOOLS] ["
        + clock
        + '{"type": "object", "properties": {}}}}][/AVAILABLE_TOOLS][INST] Time?[/INST]'
        '[TOOL_CALLS] [{"name": "clock", "arguments": {}, "id": "a1b2c3d4e"}, '
        '{"name": "get_weather", "arguments": {"city": "上海"}, "id": "a1b2c3d4e"}]</s>'
        '[TOOL_RESULTS] {"content": 12:30, "call_id": "a1b2c3d4e"}[/TOOL_RESULTS]'
        '[TOOL_RESULTS] {"content": {"a": 1}, "call_id": "a1b2c3d4e"}[/TOOL_RESULTS]'
    )


def test_mistral_shows_no_id_that_a_row_lacks_and_the_end_of_a_long_one() -> None:
    """github.com/vllm-project/vllm takes the last nine characters too."""
    talk = [user("Time?"), calling(call("clock")), result("12:30")]
    talk[1]["tool_calls"][0]["id"] = talk[2]["tool_call_id"] = "call_0123456789"
    assert '"id": "123456789"}]' in template("mistral").render(talk, special=SPECIAL)
    del talk[1]["tool_calls"][0]["id"], talk[2]["tool_call_id"]
    assert (
        template("mistral")
        .render(talk, special=SPECIAL)
        .endswith(
            '[TOOL_CALLS] [{"name": "clock", "arguments": {}}]</s>[TOOL_RESULTS] {"content": 12:30}[/TOOL_RESULTS]'
        )
    )


def test_phi4_as_published() -> None:
    """microsoft/phi-4, chat_template, as quoted in github.com/ShishirPatil/gorilla.

    berkeley-function-call-leaderboard/bfcl/model_handler/local_inference/phi.py
    at 051a47180fb4521ed93db6b8198c3fb8a93e34e2.
    """
    assert template("phi4").render(ROUNDS, special={}, add_generation_prompt=True) == (
        "<|im_start|>system<|im_sep|>You are a helpful assistant<|im_end|><|im_start|>user<|im_sep|>Hello<|im_end|>"
        "<|im_start|>assistant<|im_sep|>Hi there<|im_end|><|im_start|>user<|im_sep|>Who are you<|im_end|>"
        "<|im_start|>assistant<|im_sep|>   I am an assistant   <|im_end|>"
        "<|im_start|>user<|im_sep|>Another question<|im_end|><|im_start|>assistant<|im_sep|>"
    )


def test_glm4_as_published() -> None:
    """THUDM/glm-4-9b-chat, chat_template, as quoted in github.com/ShishirPatil/gorilla.

    berkeley-function-call-leaderboard/bfcl/model_handler/local_inference/glm.py
    at 492322e819da52c15a6788b1c5300805b51179fb. Only the name of who speaks next stands nearer: behind the last
    answer, where generation ends with it.
    """
    by = template("glm4")
    assert by.render(ROUNDS, special={}, add_generation_prompt=True) == (
        "[gMASK]<sop><|system|>\nYou are a helpful assistant<|user|>\nHello<|assistant|>\nHi there<|user|>\nWho are you"
        "<|assistant|>\n   I am an assistant   <|user|>\nAnother question<|assistant|>"
    )
    assert by.render(ROUNDS[:3], special={}).endswith("<|assistant|>\nHi there<|user|>")


def test_glm4_with_tools_as_published() -> None:
    """The tools as in the same text. Calls and results, with the name of the tool in the place of `metadata`.

    github.com/THUDM/GLM-4, basic_demo/openai_api_server.py at 11e244c0f2ec734d0d182e697f3b10a2e22af744:
    process_messages writes them so and process_response reads several of them apart at <|assistant|>.
    """
    talk = [
        user("几点了？"),
        calling(call("clock"), call("get_weather", city="上海")),
        result("12:30"),
        answer("十二点半"),
    ]
    text, spans = template("glm4").render_marked(talk, special={}, tools=TOOLS[1:])
    assert text == (
        "[gMASK]<sop><|system|>\n你是一个名为 ChatGLM 的人工智能助手。你是基于智谱AI训练的语言模型 GLM-4 模型开发的，"
        "你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具\n\n## clock\n\n"
        '{\n    "name": "clock",\n    "description": "The time.",\n    "parameters": {\n        "type": "object",\n'
        '        "properties": {}\n    }\n}\n在调用上述函数时，请使用 Json 格式表示调用的参数。<|user|>\n几点了？'
        '<|assistant|>clock\n{}<|assistant|>get_weather\n{"city": "上海"}<|observation|>\n12:30'
        "<|assistant|>\n十二点半<|user|>"
    )
    assert [text[start:end] for start, end in spans] == [
        'clock\n{}<|assistant|>get_weather\n{"city": "上海"}<|observation|>',
        "\n十二点半<|user|>",
    ]


def test_deepseek3_as_published() -> None:
    """deepseek-ai/DeepSeek-V3-0324, whose calls and results github.com/vllm-project/vllm repeats.

    examples/tool_chat_template_deepseekv3.jinja at 7531ada7db299214b688d5ea9a316572863edccf; there also the list of
    tools, which is that file's text without the spaces and empty lines of its own layout.
    """
    talk = [
        system("Be brief."),
        user("Oslo and the time?"),
        calling(call("get_weather", city="Oslo"), call("clock"), content="I look."),
        result('{"high": -3}'),
        result("12:30"),
        calling(call("clock")),
        result("12:31"),
        answer("-3 at 12:31"),
        user("Thanks"),
    ]
    clock = '{"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": '
    assert template("deepseek3").render(talk, special=SPECIAL, tools=TOOLS[1:], add_generation_prompt=True) == (
        "<s>Be brief.\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n" + clock + "{"
        '"type": "object", "properties": {}}}}\n</tools>\n\n'
        "For function call returns, you should first print <｜tool▁calls▁begin｜>\n\n"
        "For each function call, you should return object like:\n"
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜><function_name>\n"
        "```json\n<function_arguments_in_json_format>\n```<｜tool▁call▁end｜>\n\n"
        "At the end of function call returns, you should print <｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
        "<｜User｜>Oslo and the time?<｜Assistant｜>I look.<｜tool▁calls▁begin｜>"
        '<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Oslo"}\n```<｜tool▁call▁end｜>\n'
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>clock\n```json\n{}\n```<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
        '<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>{"high": -3}<｜tool▁output▁end｜>\n'
        "<｜tool▁output▁begin｜>12:30<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>clock\n```json\n{}\n```<｜tool▁call▁end｜>"
        "<｜tool▁calls▁end｜><｜end▁of▁sentence｜>"
        "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>12:31<｜tool▁output▁end｜><｜tool▁outputs▁end｜>"
        "-3 at 12:31<｜end▁of▁sentence｜><｜User｜>Thanks<｜Assistant｜>"
    )


def test_smollm_with_tools_as_published() -> None:
    """ollama.com/library/smollm2:1.7b-instruct-q4_0, template dfebd0343bdd, from HuggingFaceTB/SmolLM2-1.7B-Instruct.

    The spaces at the ends of lines and the dots before "(more" are those of the model's own guide to function calling.
    """
    talk = [user("Time?"), calling(call("clock"), call("get_weather", city="上海")), result("12:30")]
    clock = '{"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": '
    assert template("smollm").render(talk, special={}, tools=TOOLS[1:], add_generation_prompt=True) == (
        "<|im_start|>system\nYou are an expert in composing functions. You are given a question and a set of possible "
        "functions. \nBased on the question, you will need to make one or more function/tool calls to achieve the "
        "purpose. \nIf none of the functions can be used, point it out and refuse to answer. \nIf the given question "
        "lacks the parameters required by the function, also point it out.\n\nYou have access to the following tools:\n"
        "<tools>[" + clock + '{"type": "object", "properties": {}}}}]</tools>\n\n'
        "The output MUST strictly adhere to the following format, and NO other text MUST be included.\nThe example "
        "format is as follows. Please make sure the parameter type is correct. If no function call is needed, please "
        "make the tool calls an empty list '[]'.\n<tool_call>[\n"
        '{"name": "func_name1", "arguments": {"argument1": "value1", "argument2": "value2"}},\n'
        "... (more tool calls as required)\n]</tool_call><|im_end|>\n<|im_start|>user\nTime?<|im_end|>\n"
        '<|im_start|>assistant\n<tool_call>[\n{"name": "clock", "arguments": {}},\n'
        '{"name": "get_weather", "arguments": {"city": "上海"}}\n]</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n12:30\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def _has_embedded() -> bool:
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.mark.skipif(not _has_embedded(), reason=f"{PACKAGE} is not installed")
def test_smollm_is_the_template_that_the_embedded_model_carries() -> None:
    from gguf import GGUFReader

    source = str(GGUFReader(gguf_file()).fields["tokenizer.chat_template"].contents())
    carried = Template("embedded", source, "the GGUF file", False)
    for title, talk in (PLAIN | WITH_SYSTEM | QUESTION).items():
        ask = {"special": SPECIAL, "add_generation_prompt": title in QUESTION}
        assert template("smollm").render(talk, **ask) == carried.render(talk, **ask), title
