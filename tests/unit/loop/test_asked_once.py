"""What the reference was asked is kept whole, verified, and named by everything it depends on."""

import torch

from studio.loop.asked_once import TOKENS, _batches, _keep, _kept, weights_hash


def test_what_is_kept_comes_back_and_what_is_damaged_is_told(tmp_path):
    said: list[str] = []
    path, numbers = tmp_path / "cache" / "a.f32", torch.tensor([-1.5, -2.25, -1e-7])
    assert _kept(path, 3, said.append) is None
    _keep(path, numbers)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.f32"]
    found = _kept(path, 3, said.append)
    assert found is not None and torch.equal(found, numbers)
    assert said == []
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    for damaged in (bytes(content), content[:-4], b""):
        path.write_bytes(damaged)
        assert _kept(path, 3, said.append) is None
    assert len(said) == 3 and all("damaged" in line for line in said)


def test_every_document_is_in_one_batch_and_none_is_larger_than_it_may_be():
    sizes = [TOKENS // 2, TOKENS // 2, 1, TOKENS * 3, 7, 8]
    documents = [([0] * size, [True] * size) for size in sizes]
    found = list(_batches(range(len(sizes)), documents))
    assert found == [[0, 1], [2], [3], [4, 5]]
    assert list(_batches(range(1, len(sizes), 2), documents)) == [[1], [3], [5]]


def test_the_hash_of_weights_sees_a_changed_bit_and_not_what_is_left_out():
    model = torch.nn.Linear(3, 2)
    before = weights_hash(model, set())
    assert weights_hash(model, set()) == before
    model.weight.data[1, 2] += 1e-6
    assert weights_hash(model, set()) != before
    without = weights_hash(model, {"weight"})
    model.weight.data.zero_()
    assert weights_hash(model, {"weight"}) == without
    assert weights_hash(model.to(torch.bfloat16), {"weight"}) != without
