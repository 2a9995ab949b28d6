"""DeGRPO: the loss as it is written, what a reply is worth, and that a mode is learnt."""

import random

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from judges.nano import WEIGHTS, data, degrpo

WORDS = PreTrainedTokenizerFast.from_pretrained(WEIGHTS)


def losses(lengths: list[int], alpha: float | None) -> tuple[float, list[float]]:
    """The loss of replies so long, and its gradient for each mode token."""
    rows, width = len(lengths), max(lengths)
    logprobs = torch.full((rows, width), -0.7, requires_grad=True)
    mask = torch.arange(width)[None] < torch.tensor(lengths)[:, None]
    advantages = torch.linspace(-0.5, 1.0, rows)
    loss = degrpo.policy_loss(logprobs, logprobs.detach().clone(), advantages, mask, alpha)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logprobs.grad is not None
    assert not logprobs.grad[~mask].any()
    return float(loss.detach()), logprobs.grad[:, 0].tolist()


def test_the_loss_is_what_is_written() -> None:
    """alpha * mean over modes + mean over all other tokens, with ratios clipped."""
    logprobs = torch.log(torch.tensor([[0.5, 0.2, 0.1], [0.4, 0.9, 0.5]]))
    old = torch.log(torch.tensor([[0.25, 0.2, 0.2], [0.4, 0.6, 0.5]]))
    mask = torch.tensor([[True, True, True], [True, True, False]])
    advantages = torch.tensor([1.0, -1.0])
    modes = (-1.2 + 1.0) / 2  # a ratio of 2 is clipped to 1.2 where that is worse
    rest = (-1.0 - 0.5 + 1.5) / 3
    found = degrpo.policy_loss(logprobs, old, advantages, mask, 0.1)
    assert float(found) == pytest.approx(0.1 * modes + rest, abs=1e-6)
    plain = degrpo.policy_loss(logprobs, old, advantages, mask, None)
    assert float(plain) == pytest.approx((2 * modes + 3 * rest) / 5, abs=1e-6)


def test_long_chains_do_not_drown_the_mode() -> None:
    _, short = losses([4, 4, 4], alpha=0.3)
    _, long = losses([4, 60, 60], alpha=0.3)
    assert long == pytest.approx(short)
    _, short = losses([4, 4, 4], alpha=None)
    _, long = losses([4, 60, 60], alpha=None)
    assert max(map(abs, long)) < 0.2 * max(map(abs, short))


def test_advantages_are_relative_to_the_group_and_not_scaled() -> None:
    rewards = torch.tensor([1.0] * 4 + [-1.0] * 4 + [0.5] * 8)
    assert degrpo.advantages_of(rewards).tolist() == [1.0] * 4 + [-1.0] * 4 + [0.0] * 8


def test_what_a_reply_is_worth() -> None:
    trainer = degrpo.ModeTrainer(WORDS)
    example = next(one for seed in range(99) if (one := data.draw(random.Random(seed))).better == 1)
    worth = {
        "<short>\n\n\\boxed{Assistant 2}<|end|>": degrpo.SHORT_RIGHT,
        "<think>\n1+1</think>\n\n\\boxed{Assistant 2}<|end|>": degrpo.THINK_RIGHT,
        "<short>\n\n\\boxed{Assistant 1}<|end|>": degrpo.WRONG,
        "<think>\n</think>\n\n\\boxed{Assistant 1}<|end|>": degrpo.WRONG,
        "<think>\n\\boxed{Assistant 2}": degrpo.MALFORMED,
        "<short>2": degrpo.MALFORMED,
        # Thought that hides behind the other mode, or behind none, is not worth what none is.
        "<short>1+1=2</think>\n\n\\boxed{Assistant 2}<|end|>": degrpo.MALFORMED,
        "1+1=2</think>\n\n\\boxed{Assistant 2}<|end|>": degrpo.MALFORMED,
    }
    for reply, reward in worth.items():
        ids = trainer.teacher.encode(reply)
        assert trainer.reward(ids, example) == reward, reply


def test_a_step_changes_a_copy_and_sampling_is_what_training_sees() -> None:
    model = LlamaForCausalLM.from_pretrained(WEIGHTS).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = degrpo.ModeTrainer(WORDS)
    seen: list[degrpo.Replies] = []
    trained = trainer.train(
        model, degrpo.Settings(0.3, steps=1, seed=4), lambda step, replies: seen.append(replies)
    )
    [replies] = seen
    assert len(replies.ids) == degrpo.GROUP * degrpo.QUESTIONS
    assert 0 < replies.thinks < 1
    assert set(replies.rewards.tolist()) <= {1.0, 0.5, -1.0}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert any(not torch.equal(v, before[n]) for n, v in trained.state_dict().items())
    # Before any update a ratio is 1: what was sampled is what the loss computes again.
    loss = trainer.loss(model, replies, None)
    advantage = (replies.advantages[:, None] * replies.mask).sum() / replies.mask.sum()
    assert float(loss.detach()) == pytest.approx(-float(advantage), abs=1e-4)


@pytest.mark.slow
def test_a_mode_is_learnt_from_rewards() -> None:
    """From a coin: after a few steps close pairs are thought about more than far ones."""
    model = LlamaForCausalLM.from_pretrained(WEIGHTS).eval()
    coin = degrpo.reteach(model, WORDS, steps=60, seed=0)
    trainer = degrpo.ModeTrainer(WORDS)
    rng = random.Random(8)
    held = [data.draw(rng) for _ in range(200)]
    trained = trainer.train(coin, degrpo.Settings(0.3, steps=12, seed=0))
    before, after = trainer.modes(coin, held)[0], trainer.modes(trained, held)[0]

    def apart(thinks: list[float]) -> float:
        close = [think for think, one in zip(thinks, held, strict=True) if one.gap <= 3]
        far = [think for think, one in zip(thinks, held, strict=True) if one.gap > 20]
        return sum(close) / len(close) - sum(far) / len(far)

    assert apart(after) > apart(before) + 0.05
