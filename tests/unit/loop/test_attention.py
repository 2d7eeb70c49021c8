"""Boundaries of documents are read once a step, and what plain attention is."""

import torch
from torch.nn.functional import scaled_dot_product_attention

from studio.loop import attention
from studio.loop.attention import lengths


def test_layers_get_the_boundaries_as_numbers(monkeypatch):
    ends = torch.tensor([0, 7, 8, 24], dtype=torch.int32)
    more = lengths({"cu_seq_lens_q": ends})
    assert more["max_length_q"] == more["max_length_k"] == 16 and more["cu_seq_lens_k"] is ends
    monkeypatch.setattr(torch.Tensor, "tolist", None)  # a layer that asked the device would fail
    assert attention._numbers(ends) == [0, 7, 8, 24]


def test_boundaries_that_nobody_read_are_read():
    assert attention._numbers(torch.tensor([0, 3, 5], dtype=torch.int32)) == [0, 3, 5]


def test_what_the_kernel_is_held_against_is_causal_attention():
    query, key, value = torch.randn(9, 4, 8), torch.randn(9, 2, 8), torch.randn(9, 2, 8)
    batched = [part.transpose(0, 1)[None] for part in (query, key, value)]
    expected = scaled_dot_product_attention(*batched, is_causal=True, enable_gqa=True)[0].transpose(0, 1)
    assert torch.allclose(attention._plain(query, key, value), expected, atol=1e-6)


def test_no_kernel_of_a_gpu_is_asked_for_on_a_processor():
    part = torch.randn(1, 4, 9, 8, dtype=torch.bfloat16)
    assert not attention._at_once(part, part, {})
