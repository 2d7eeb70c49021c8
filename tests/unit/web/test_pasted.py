"""Commands and files as people copy them become values of the form, or sentences."""

import pytest

from studio.web.pasted import Pasted, read_pasted
from studio.workspace import Workspace

ARGUMENTS = "--stage sft --model_name_or_path models/tiny --dataset tiny_sft,tiny_share --lora_rank 16"
VALUES = {"model_name_or_path": "models/tiny", "dataset": ["tiny_sft", "tiny_share"], "lora_rank": 16}


def read(text: str, place: Workspace) -> Pasted:
    return read_pasted(text, place)


@pytest.mark.parametrize(
    "start",
    [
        "",
        "llamafactory-cli train ",
        "studio train ",
        "lmf train ",
        "python train.py ",
        ".venv/bin/python -u src/train_bash.py ",
        "python -m studio train ",
        "python3 -m llamafactory.cli train ",
        "deepspeed --num_gpus 2 --master_port=9901 src/train_bash.py ",
        "torchrun --nproc_per_node 4 --nnodes=1 pretraining.py ",
        "python -m torch.distributed.run --nproc_per_node 2 x.py ",
        "accelerate launch --config_file a.yaml --num_processes 2 -m some.module ",
        "CUDA_VISIBLE_DEVICES=0,1 FORCE_TORCHRUN=1 llamafactory-cli train ",
        "cd LLaMA-Factory && llamafactory-cli train ",
        "nohup python x.py ",
        "#!/bin/bash\nset -e; \nexport WANDB_DISABLED=true\n\npython x.py ",
    ],
)
def test_whatever_starts_the_program_the_arguments_are_read(start: str, workspace: Workspace) -> None:
    found = read(start + ARGUMENTS, workspace)
    assert (found.values, found.complaints) == (VALUES, [])


@pytest.mark.parametrize(
    "text",
    [
        ARGUMENTS.replace(" --", " \\\n    --"),
        ARGUMENTS.replace(" --", "   \\  \r\n\t--"),
        ARGUMENTS.replace(" --", "\n--"),
        ARGUMENTS.replace(" --", " `\n--"),
        ARGUMENTS.replace(" --", "  # what it does\n  --"),
        ARGUMENTS.replace(" --", " \\\n# --seed 3\n --"),
        ARGUMENTS + " > log.txt 2>&1 &",
        ARGUMENTS + " | tee log.txt",
        ARGUMENTS.replace("models/tiny", "'models/tiny'"),
    ],
)
def test_lines_comments_and_what_is_for_the_shell(text: str, workspace: Workspace) -> None:
    found = read("python x.py " + text, workspace)
    assert (found.values, found.complaints) == (VALUES, [])


def test_yaml_and_json_are_read_too(workspace: Workspace) -> None:
    yaml = "### model\nmodel_name_or_path: models/tiny\nstage: sft\nwarmup_ratio: 0.1\nlora_target: q_proj,v_proj\n"
    found = read(yaml, workspace)
    assert found.notes == ["--warmup_ratio 0.1 is read as --warmup_steps 0.1 (below 1 it is a share of all steps)."]
    assert found.values["lora_target"] == "q_proj,v_proj"
    assert read('{"model": "models/tiny", "dataset": ["tiny_sft"], "seed": 7}', workspace).values == {
        "model_name_or_path": "models/tiny", "dataset": ["tiny_sft"], "seed": 7,
    }  # fmt: skip


def test_values_with_blanks_and_json_survive(workspace: Workspace) -> None:
    found = read(
        f"""studio train {ARGUMENTS} --lr_scheduler_kwargs '{{"min_lr": 1e-6}}' --default_system 'a #b'""", workspace
    )
    assert found.values == {**VALUES, "lr_scheduler_kwargs": {"min_lr": 1e-6}, "default_system": "a #b"}


def test_unknown_and_wrong_ones_are_told_and_the_others_taken(workspace: Workspace) -> None:
    found = read(f"python x.py {ARGUMENTS} --nope 1 --learning_rate abc --model_type qwen", workspace)
    assert found.values["lora_rank"] == "16"
    assert found.values["learning_rate"] == "abc"
    told = "\n".join(found.complaints)
    assert "--nope: there is no such argument." in told
    assert "--learning_rate abc: must be a number" in told
    assert "--model_type qwen: not supported" in told
    assert len(found.complaints) == 3


def test_what_the_form_asks_for_itself_is_no_complaint(workspace: Workspace) -> None:
    found = read("--seed 7", workspace)
    assert (found.values, found.complaints) == ({"seed": "7"}, [])


def test_variables_are_filled_in_where_the_text_says_them(workspace: Workspace) -> None:
    found = read(
        "MODEL=models/tiny\nexport OUT=saves/x\npython x.py --model_name_or_path $MODEL --output_dir ${OUT}/y",
        workspace,
    )
    assert found.values == {"model_name_or_path": "models/tiny", "output_dir": "saves/x/y"}
    assert "holds the shell variable $WHAT" in read("python x.py --output_dir $WHAT", workspace).complaints[0]


def test_secrets_in_front_are_named_and_never_repeated(workspace: Workspace) -> None:
    found = read(f"HF_TOKEN=hf_abc123 python x.py {ARGUMENTS}", workspace)
    assert "HF_TOKEN" in found.notes[0]
    assert "hf_abc123" not in str(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no arguments"),
        ("hello world", "'hello' stands where the first argument must stand"),
        ("studio chat --model_name_or_path models/tiny", "a command to chat, not to train"),
        ("a 'b", "is not closed"),
        ("a: [1", "not YAML"),
        ("{", "not JSON"),
        ("x" * 300_000, "at most 200,000"),
    ],
)  # fmt: skip
def test_text_that_is_no_command_is_told(text: str, told: str, workspace: Workspace) -> None:
    found = read(text, workspace)
    assert told in "\n".join(found.complaints)
    assert found.values == {}
