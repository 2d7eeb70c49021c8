"""No shell, no pickle, no code from data: read off the source of everything that ships or runs."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
FILES = [path for folder in ("studio", "benchmarks", "examples") for path in (TOP / folder).rglob("*.py")]

NEVER_CALLED = {
    "eval",
    "exec",
    "__import__",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "dill.load",
    "dill.loads",
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "pandas.read_pickle",
    "pd.read_pickle",
    "shelve.open",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "tempfile.mktemp",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
}
NEVER_TRUE = {"shell", "trust_remote_code", "allow_pickle"}
NEVER_IMPORTED = {"pickle", "marshal", "shelve", "dill", "joblib"}


def unsafe(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and reason of each unsafe thing in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from ((node.lineno, f"imports {name}") for name in names if name in NEVER_IMPORTED)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg}
        if called in NEVER_CALLED:
            yield node.lineno, f"calls {called}"
        if called == "torch.load" and given.get("weights_only") != "True":
            yield node.lineno, "calls torch.load without weights_only=True"
        yield from ((node.lineno, f"passes {word}=True") for word in NEVER_TRUE if given.get(word) == "True")


def test_the_source_does_nothing_unsafe() -> None:
    found = [
        f"{path.relative_to(TOP)}:{line} {why}"
        for path in FILES
        for line, why in unsafe(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, Loader)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
        "import pickle",
        "from pickle import loads",
    ],
)
def test_the_check_sees_each_of_these(line: str) -> None:
    assert list(unsafe(ast.parse(line)))
