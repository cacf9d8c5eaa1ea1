from offprint.core.experiments import Run
from offprint.moex.experiments import MomentsConfig, moments


def test_moments_hold(tmp_path):
    claims = list(moments(MomentsConfig(samples=50), Run(tmp_path)))
    assert len(claims) == 2
    assert all(claim.holds for claim in claims)
    assert (tmp_path / "figures" / "histogram.png").stat().st_size > 0
