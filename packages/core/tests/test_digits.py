import jax
import pytest

from offprint.core.digits import DigitsConfig, digits, load_digits
from offprint.core.experiments import Run


def test_the_digits_are_split_by_class():
    (x, y), (x_test, y_test) = load_digits()
    assert (x.shape, x_test.shape) == ((1437, 64), (360, 64))
    assert float(x.min()) == 0.0
    assert float(x.max()) == 1.0
    for label in range(10):
        assert int((y_test == label).sum()) / 360 == pytest.approx(int((y == label).sum()) / 1437, abs=0.005)


def test_every_claim_is_measured(tmp_path):
    """At a tenth of the length: the loops agree and resume is exact; the accuracy is on its way."""
    run = Run(tmp_path)
    claims = {claim.claim: claim for claim in digits(DigitsConfig(num_steps=300), run)}
    accuracy, fused, resumed = claims.values()
    assert 0.85 < accuracy.here < 1.0
    assert fused.holds
    assert resumed.holds
    assert (tmp_path / "figures" / "learning.png").stat().st_size > 10_000
    assert (tmp_path / "metrics.jsonl").read_text().count("accuracy") == 3


def test_the_seed_decides(tmp_path):
    seeds = [next(digits(DigitsConfig(num_steps=100, seed=s), Run(tmp_path / str(s)))).here for s in (0, 0, 1)]
    assert seeds[0] == seeds[1]
    assert jax.numpy.isfinite(seeds[2])
