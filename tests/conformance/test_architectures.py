"""Every architecture in the table and every size of it, unasked."""

import pytest
import torch

from danlu.nn.model import Model, parameter_count, transplant
from danlu.nn.table import ARCHITECTURES, architecture, listing

CASES = [(kind, name, size) for kind, names in ARCHITECTURES.items() for name in names for size in architecture(kind, name).sizes]
CLASSES, ROWS = 5, 3


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def made(request: pytest.FixtureRequest) -> Model:
    return build(*request.param)


def build(kind: str, name: str, size: str, classes: int = CLASSES, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    cls = architecture(kind, name)
    return cls(classes, size, **cls.example_facts())


def answer(model: Model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(batch)


def one(batch: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    """The batch of a single row: cut to its own length where it has one, cut out where rows stand one after the other from `offsets`."""
    if "offsets" in batch:
        starts = [*batch["offsets"].tolist(), len(batch["ids"])]
        flat = {key: tensor[starts[row] : starts[row + 1]] for key, tensor in batch.items()}
        return flat | {"offsets": torch.zeros(1, dtype=torch.int64)}
    alone = {}
    for key, tensor in batch.items():
        lengths_B = batch.get(f"{key}_lengths")
        alone[key] = tensor[row : row + 1] if lengths_B is None else tensor[row : row + 1, : max(1, int(lengths_B[row]))]
    return alone


def test_example_batch_is_the_same_at_every_call_and_holds_different_rows(made: Model) -> None:
    first, second = made.example_batch(ROWS), made.example_batch(ROWS)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    answers_BC = answer(made, first)
    assert answers_BC.shape == (ROWS, CLASSES)
    assert not torch.equal(answers_BC[0], answers_BC[1])


def test_forward_gives_finite_logits_and_every_parameter_a_gradient(made: Model) -> None:
    torch.manual_seed(1)
    made.train().zero_grad()
    batch = {key: tensor.clone() for key, tensor in made.example_batch(ROWS).items()}
    logits_BC = made(batch)
    assert logits_BC.shape == (ROWS, CLASSES)
    assert logits_BC.isfinite().all()
    torch.nn.functional.cross_entropy(logits_BC, torch.arange(ROWS)).backward()
    without = [name for name, p in made.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    made.zero_grad()


def test_a_batch_of_one_equals_a_batch_of_many(made: Model) -> None:
    batch = made.example_batch(ROWS)
    many_BC = answer(made, batch)
    for row in range(ROWS):
        torch.testing.assert_close(answer(made, one(batch, row))[0], many_BC[row], atol=1e-5, rtol=1e-5)


def test_trains_on_a_batch_of_one(made: Model) -> None:
    made.train()
    logits_BC = made(one(made.example_batch(ROWS), 0))
    assert logits_BC.isfinite().all()


def test_stages_hold_every_parameter_exactly_once(made: Model) -> None:
    held = [id(p) for stage in made.stages() for p in stage.parameters()]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in made.parameters()}
    assert len(made.stages()) > 1
    assert any(True for _ in made.head.parameters())


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_same_seed_same_model_and_weights_round_trip(case: tuple[str, str, str]) -> None:
    first, second, other = build(*case), build(*case), build(*case, seed=1)
    weights = {name: tensor.clone() for name, tensor in first.weights().items()}
    assert all(torch.equal(tensor, second.weights()[name]) for name, tensor in weights.items())
    batch = first.example_batch(ROWS)
    expected_BC = answer(first, batch)
    assert torch.equal(answer(second, batch), expected_BC)
    other.load_weights(weights)
    assert torch.equal(answer(other, batch), expected_BC)
    with pytest.raises(RuntimeError):
        other.load_weights(dict(list(weights.items())[1:]))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_transplant_copies_the_body_and_leaves_the_head(case: tuple[str, str, str]) -> None:
    donor, body = build(*case, seed=2), build(*case, classes=CLASSES + 2, seed=3)
    head = [tensor.clone() for tensor in body.head.parameters()]
    copied = transplant(body, donor.weights())
    assert copied
    assert all(torch.equal(body.weights()[name], donor.weights()[name]) for name in copied)
    assert all(torch.equal(before, after) for before, after in zip(head, body.head.parameters(), strict=True))


def test_listing_names_every_architecture_and_size_with_its_true_count() -> None:
    lines = {(line["kind"], line["name"], line["size"]): line["parameters"] for line in listing()}
    assert list(lines) == CASES
    for case in CASES[:3]:
        assert lines[case] == parameter_count(build(*case, classes=10))


def carried(model: Model, batch: dict[str, torch.Tensor], first: int) -> dict[str, torch.Tensor]:
    """The batch of the stages from `first` on: what the stages before gave for each row, put together anew, and the fields that are read."""
    inner = answer_of_stages(model, batch, 0, first)
    lengths_B = model.inner_lengths(batch, first)
    if lengths_B is not None:  # whatever stands in the padding is not kept
        outside_BT = torch.arange(inner.shape[1])[None, :] >= lengths_B[:, None]
        inner = inner.masked_fill(outside_BT.view(*outside_BT.shape, *[1] * (inner.ndim - 2)), 0)
    kept = {key: tensor for key, tensor in batch.items() if key in model.reads or key.removesuffix("_lengths") in model.reads}
    return kept | {"inner": inner}


def answer_of_stages(model: Model, batch: dict[str, torch.Tensor], first: int, last: int | None) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval().run(batch, first, last)


def test_the_first_stages_and_then_the_others_answer_as_all_together(made: Model) -> None:
    """At every boundary: what a row's first stages gave, kept without padding, is all that the others need."""
    if not made.cuts:
        assert type(made).__name__ == "Bag"  # its head reads the n-grams themselves
        return
    batch = made.example_batch(ROWS)
    whole_BC = answer(made, batch)
    stages = len(made.stages())
    for first in range(1, stages):
        tail = carried(made, batch, first)
        torch.testing.assert_close(answer_of_stages(made, tail, first, None), whole_BC, atol=1e-6, rtol=1e-5)
        for middle in range(first + 1, stages):
            onward = tail | {"inner": answer_of_stages(made, tail, first, middle)}
            torch.testing.assert_close(answer_of_stages(made, onward, middle, None), whole_BC, atol=1e-6, rtol=1e-5)
