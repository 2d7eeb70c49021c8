"""What the older families' conversations look like, with the public place that says so.

`asked` is QUESTIONS up to the prompt for the next answer, `rounds` the whole of ROUNDS, `told` the whole of
TOLD, which has a system message; empty when the family has no form for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
DEEPSEEK = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}


def talk(*texts: str, system: str = "") -> list[dict[str, Any]]:
    """Question and answer in turn, behind a system message if there is one."""
    told = [{"role": "system", "content": system}] if system else []
    return told + [{"role": "assistant" if at % 2 else "user", "content": text} for at, text in enumerate(texts)]


QUESTIONS = talk("Hello!", "Hi!", "How are you?")
ROUNDS = talk("你好", "您好，有什么可以帮您？", "介绍一下中国", "中国位于亚洲东部。")
TOLD = talk("Who are you?", "Arr, a pirate.", system="Speak like a pirate.")


@dataclass(frozen=True)
class Golden:
    """One family: the place that publishes its form, and three conversations in that form."""

    source: str
    asked: str
    rounds: str
    told: str = ""
    special: tuple[tuple[str, str], ...] = tuple(SPECIAL.items())


ALPACA = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
BAICHUAN = (
    "generation_utils.py of Baichuan-13B-Chat, as in DSXiangLi/LongBaichuan@63a1684b; labels and end token: "
    "fine-tune/fine-tune.py of Baichuan2, as in xiaoyichao/Baichuan2@e5e8c108"
)


def chatml(bos: str) -> dict[str, str]:
    """The three conversations in ChatML."""
    return {
        "asked": (
            f"{bos}<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nHi!<|im_end|>\n"
            "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"
        ),
        "rounds": (
            f"{bos}<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n您好，有什么可以帮您？<|im_end|>\n"
            "<|im_start|>user\n介绍一下中国<|im_end|>\n<|im_start|>assistant\n中国位于亚洲东部。<|im_end|>\n"
        ),
        "told": (
            f"{bos}<|im_start|>system\nSpeak like a pirate.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n"
            "<|im_start|>assistant\nArr, a pirate.<|im_end|>\n"
        ),
    }


def baichuan(user: int, assistant: int) -> dict[str, str]:
    """The three conversations between two reserved tokens."""
    human, model = f"<reserved_{user}>", f"<reserved_{assistant}>"
    return {
        "asked": f"{human}Hello!{model}Hi!{human}How are you?{model}",
        "rounds": f"{human}你好{model}您好，有什么可以帮您？{human}介绍一下中国{model}中国位于亚洲东部。</s>",
        "told": f"Speak like a pirate.{human}Who are you?{model}Arr, a pirate.</s>",
    }


GOLDENS = {
    "empty": Golden(
        "register_template(name='empty') in hiyouga/LLaMA-Factory@00577a85, with the end token that it had "
        "when the name was given (efficient_eos)",
        "Hello!Hi!</s>How are you?",
        "你好您好，有什么可以帮您？</s>介绍一下中国中国位于亚洲东部。</s>",
        "Speak like a pirate.Who are you?Arr, a pirate.</s>",
    ),
    "alpaca": Golden(
        "train.py of tatsu-lab/stanford_alpaca@15b51ae3 (prompt_no_input); the line break behind Response: and "
        "the empty line between rounds: templates/alpaca.json of tloen/alpaca-lora@8d58d37b and "
        "hiyouga/LLaMA-Factory@00577a85",
        f"<s>{ALPACA}\n\n### Instruction:\nHello!\n\n### Response:\nHi!</s>\n\n"
        "### Instruction:\nHow are you?\n\n### Response:\n",
        f"<s>{ALPACA}\n\n### Instruction:\n你好\n\n### Response:\n您好，有什么可以帮您？</s>\n\n"
        "### Instruction:\n介绍一下中国\n\n### Response:\n中国位于亚洲东部。</s>\n\n",
        "<s>Speak like a pirate.\n\n### Instruction:\nWho are you?\n\n### Response:\nArr, a pirate.</s>\n\n",
    ),
    "vicuna": Golden(
        "vicuna_v1.1 in fastchat/conversation.py of lm-sys/FastChat@2e7855bb; the begin token: "
        "fastchat/train/train.py@6e60d094 masks it",
        f"<s>{VICUNA} USER: Hello! ASSISTANT: Hi!</s>USER: How are you? ASSISTANT:",
        f"<s>{VICUNA} USER: 你好 ASSISTANT: 您好，有什么可以帮您？</s>"
        "USER: 介绍一下中国 ASSISTANT: 中国位于亚洲东部。</s>",
        "<s>Speak like a pirate. USER: Who are you? ASSISTANT: Arr, a pirate.</s>",
    ),
    "llama2": Golden(
        "chat_completion in llama/generation.py of meta-llama/llama@6d4c0c29, begin and end token a round",
        "<s>[INST] Hello! [/INST] Hi! </s><s>[INST] How are you? [/INST]",
        "<s>[INST] 你好 [/INST] 您好，有什么可以帮您？ </s><s>[INST] 介绍一下中国 [/INST] 中国位于亚洲东部。 </s>",
        "<s>[INST] <<SYS>>\nSpeak like a pirate.\n<</SYS>>\n\nWho are you? [/INST] Arr, a pirate. </s>",
    ),
    "yi": Golden(
        "tokenizer_config.json of 01-ai/Yi-34B-Chat, as Yi-34b-chat in fastchat/conversation.py of "
        "lm-sys/FastChat and yi in component/template.py of yangjianxin1/Firefly@0b2b7b86",
        **chatml(""),
    ),
    "deepseek": Golden(
        "README.md of deepseek-ai/DeepSeek-LLM@1b79a65a, and the chat template of deepseek-llm-7b-chat in "
        "packages/jinja/test/e2e.test.js of huggingface/huggingface.js@029db6ba",
        "<｜begin▁of▁sentence｜>User: Hello!\n\nAssistant: Hi!<｜end▁of▁sentence｜>User: How are you?\n\nAssistant:",
        "<｜begin▁of▁sentence｜>User: 你好\n\nAssistant: 您好，有什么可以帮您？<｜end▁of▁sentence｜>"
        "User: 介绍一下中国\n\nAssistant: 中国位于亚洲东部。<｜end▁of▁sentence｜>",
        "<｜begin▁of▁sentence｜>Speak like a pirate.\n\nUser: Who are you?\n\n"
        "Assistant: Arr, a pirate.<｜end▁of▁sentence｜>",
        tuple(DEEPSEEK.items()),
    ),
    "internlm2": Golden(
        "chat/chat_format.md of InternLM/InternLM@1182cbbb; the begin token: the chat template of "
        "internlm2-chat-7b in e2e.test.js of huggingface/huggingface.js@029db6ba",
        **chatml("<s>"),
    ),
    "baichuan": Golden(BAICHUAN, **baichuan(102, 103)),
    "baichuan2": Golden(BAICHUAN, **baichuan(106, 107)),
    "atom": Golden(
        "get_prompt_llama2chinese in scripts/api/accelerate_server.py of LlamaFamily/Llama-Chinese@2b42ee2f",
        "<s>Human: Hello!\n</s><s>Assistant: Hi!\n</s><s>Human: How are you?\n</s><s>Assistant:",
        "<s>Human: 你好\n</s><s>Assistant: 您好，有什么可以帮您？\n</s>"
        "<s>Human: 介绍一下中国\n</s><s>Assistant: 中国位于亚洲东部。\n</s>",
        "<s>System: Speak like a pirate.\n</s><s>Human: Who are you?\n</s><s>Assistant: Arr, a pirate.\n</s>",
    ),
    "belle": Golden(
        "register_template(name='belle') in hiyouga/LLaMA-Factory@00577a85, for BelleGroup/BELLE-LLaMA-EXT-13B",
        "<s>Human: Hello!\n\nBelle: Hi!</s>\n\nHuman: How are you?\n\nBelle:",
        "<s>Human: 你好\n\nBelle: 您好，有什么可以帮您？</s>\n\n"
        "Human: 介绍一下中国\n\nBelle: 中国位于亚洲东部。</s>\n\n",
    ),
    "moss": Golden(
        "README_en.md of OpenMOSS/MOSS@121d4892, and the rows of its SFT_data@15a61731",
        "<|Human|>: Hello!<eoh>\n<|MOSS|>: Hi!<eom>\n<|Human|>: How are you?<eoh>\n<|MOSS|>:",
        "<|Human|>: 你好<eoh>\n<|MOSS|>: 您好，有什么可以帮您？<eom>\n"
        "<|Human|>: 介绍一下中国<eoh>\n<|MOSS|>: 中国位于亚洲东部。<eom>\n",
        "Speak like a pirate.\n<|Human|>: Who are you?<eoh>\n<|MOSS|>: Arr, a pirate.<eom>\n",
    ),
    "firefly": Golden(
        "SFTDataset in component/dataset.py of yangjianxin1/Firefly@26ccb872",
        "<s>Hello!</s>Hi!</s>How are you?</s>",
        "<s>你好</s>您好，有什么可以帮您？</s>介绍一下中国</s>中国位于亚洲东部。</s>",
    ),
}

# Text that published templates render, word for word from e2e.test.js of huggingface/huggingface.js@029db6ba.
SHOWN = talk(
    "Hello, how are you?",
    "I'm doing great. How can I help you today?",
    "I'd like to show off how chat templating works!",
)
PIRATE = "You are a friendly chatbot who always responds in the style of a pirate"
PUBLISHED = {
    "llama2": (
        talk(*[message["content"] for message in SHOWN], system=PIRATE),
        f"<s>[INST] <<SYS>>\n{PIRATE}\n<</SYS>>\n\nHello, how are you? [/INST] I'm doing great. How can I help you "
        "today? </s><s>[INST] I'd like to show off how chat templating works! [/INST]",
    ),
    "yi": (
        SHOWN,
        "<|im_start|>user\nHello, how are you?<|im_end|>\n<|im_start|>assistant\nI'm doing great. How can I help you "
        "today?<|im_end|>\n<|im_start|>user\nI'd like to show off how chat templating works!<|im_end|>\n",
    ),
    "deepseek": (
        SHOWN,
        "<｜begin▁of▁sentence｜>User: Hello, how are you?\n\nAssistant: I'm doing great. How can I help you today?"
        "<｜end▁of▁sentence｜>User: I'd like to show off how chat templating works!\n\n",
    ),
    "internlm2": (
        SHOWN,
        "<s><|im_start|>user\nHello, how are you?<|im_end|>\n<|im_start|>assistant\nI'm doing great. How can I help "
        "you today?<|im_end|>\n<|im_start|>user\nI'd like to show off how chat templating works!<|im_end|>\n",
    ),
}
