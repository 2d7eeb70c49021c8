"""Conversations to hold chat templates against: turns, system messages, tools, thinking; English and Chinese."""

from __future__ import annotations

from typing import Any

Talk = list[dict[str, Any]]

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city. 查询城市天气",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city, e.g. 上海"},
                "days": {"type": "integer", "minimum": 1},
            },
            "required": ["city"],
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}},
}
TOOLS = [WEATHER, CLOCK]


def system(content: str) -> dict[str, Any]:
    """A message of the system."""
    return {"role": "system", "content": content}


def user(content: str) -> dict[str, Any]:
    """A question."""
    return {"role": "user", "content": content}


def answer(content: str, **more: Any) -> dict[str, Any]:
    """An answer; `reasoning_content` or `tool_calls` may come with it."""
    return {"role": "assistant", "content": content, **more}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A tool call, with an id as Mistral wants one."""
    return {"type": "function", "id": "a1b2c3d4e", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], content: str = "", **more: Any) -> dict[str, Any]:
    """An answer that calls tools."""
    return answer(content, tool_calls=list(calls), **more)


def result(content: str) -> dict[str, Any]:
    """What a tool gave back."""
    return {"role": "tool", "content": content, "tool_call_id": "a1b2c3d4e"}


PLAIN: dict[str, Talk] = {
    "one turn": [user("What is the capital of France?"), answer("Paris, on the Seine.")],
    "chinese": [user("请介绍一下西湖。"), answer("西湖在杭州，有“断桥残雪”等十景。\n\n- 苏堤\n- 白堤")],
    "three turns": [
        user("I have chicken and rice. A recipe?"),
        answer("Fry the chicken, boil the rice & serve <hot>."),
        user("  And without meat?\n"),
        answer("Then take tofu:\n```python\nprint('豆腐')\n```\n"),
        user("谢谢！"),
        answer("不客气😀"),
    ],
}
WITH_SYSTEM: dict[str, Talk] = {
    "system": [system("You are a nurse. Be brief."), user("My eyes hurt."), answer("Rest them: 20-20-20.")],
    "chinese system": [
        system("你是一位心理咨询师。"),
        user("我最近总是失眠，怎么办？"),
        answer("能说说睡前您在想什么吗？"),
        user("工作上的事。"),
        answer("先把担心写下来，明天再看。"),
    ],
}
QUESTION: dict[str, Talk] = {
    "a question": [user("What is 17 times 3?")],
    "a second question": [user("你好"), answer("您好！"), user("北京几点了？")],
}
CALLS: dict[str, Talk] = {
    "a call": [
        system("Use the tools."),
        user("上海明天天气怎么样？"),
        calling(call("get_weather", city="上海", days=1)),
        result('{"city": "上海", "sky": "晴", "high": 21.5}'),
        answer("明天上海晴，最高21.5度。"),
    ],
    "a call later": [
        user("Hi!"),
        answer("Hello, how can I help?"),
        user("What time is it?"),
        calling(call("clock")),
        result("12:30"),
        answer("Half past twelve."),
    ],
}
CALLS_IN_A_CHAIN: dict[str, Talk] = {
    "two steps": [
        user("Is it day, and is it warm in Oslo?"),
        calling(call("clock")),
        result("12:30"),
        calling(call("get_weather", city="Oslo", days=2)),
        result('{"high": -3}'),
        answer("It is day, but cold."),
        user("Thanks."),
        answer("You are welcome."),
    ],
}
CALLS_SIDE_BY_SIDE: dict[str, Talk] = {
    "two calls": [
        user("Oslo and 东京, please."),
        calling(call("get_weather", city="Oslo"), call("get_weather", city="东京")),
        result('{"high": -3}'),
        result('{"high": 18}'),
        answer("Oslo −3, 东京 18."),
    ],
    "text and a call": [
        user("Time?"),
        calling(call("clock"), content="Let me look."),
        result("12:30"),
        answer("12:30."),
    ],
}
THOUGHTS: dict[str, Talk] = {
    "a thought": [user("9.11 or 9.9?"), answer("9.9 is larger.", reasoning_content="Compare .11\nwith .90.")],
    "two thoughts": [
        user("鸡兔同笼，头8脚22？"),
        answer("鸡5只，兔3只。", reasoning_content="\n设兔x只。\n"),
        user("Check it."),
        answer("5·2 + 3·4 = 22.", reasoning_content="10 + 12"),
    ],
    "a thought in the text": [user("1+1?"), answer("<think>\nEasy.\n</think>\n\n2")],
    "thoughts between calls": [
        user("What time is it?"),
        calling(call("clock"), reasoning_content="I need the clock."),
        result("12:30"),
        answer("Half past twelve.", reasoning_content="12:30 it says."),
    ],
}
EVERY: dict[str, Talk] = {
    **PLAIN,
    **WITH_SYSTEM,
    **QUESTION,
    **CALLS,
    **CALLS_IN_A_CHAIN,
    **CALLS_SIDE_BY_SIDE,
    **THOUGHTS,
}
