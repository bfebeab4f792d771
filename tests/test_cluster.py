"""Laws of the GPU cluster."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.arrivals import CAPACITY_KW, REFERENCE_GPUS
from models import cluster
from models.cluster import Cluster

LAW = settings(deadline=None)  # the first call compiles
FRACTIONS = st.floats(0.0, 1.0)


@st.composite
def clusters(draw):
    idle_w, idle_overhead_w = draw(st.floats(0.0, 200.0)), draw(st.floats(0.0, 200.0))
    return cluster.checked(
        Cluster(
            gpus=draw(st.integers(1, 20_000)),
            idle_w_per_gpu=idle_w,
            loaded_w_per_gpu=idle_w + draw(st.floats(10.0, 1000.0)),
            idle_overhead_w_per_gpu=idle_overhead_w,
            loaded_overhead_w_per_gpu=idle_overhead_w + draw(st.floats(0.0, 300.0)),
            throughput_exponent=draw(st.floats(0.01, 1.0)),
            min_cap_fraction=draw(st.floats(0.01, 1.0)),
        )
    )


@LAW
@given(clusters(), FRACTIONS)
def test_a_power_cap_costs_less_work_than_power(c, cap_fraction):
    granted = max(cap_fraction, c.min_cap_fraction)
    assert cluster.throughput_fraction(c, cap_fraction) >= granted


@LAW
@given(clusters(), FRACTIONS, FRACTIONS)
def test_throughput_never_falls_when_the_cap_is_raised(c, one, other):
    low, high = sorted((one, other))
    assert cluster.throughput_fraction(c, low) <= cluster.throughput_fraction(c, high)


@LAW
@given(clusters(), FRACTIONS, FRACTIONS)
def test_throughput_is_concave_over_the_caps_the_hardware_takes(c, one, other):
    low, high = (max(x, c.min_cap_fraction) for x in (one, other))
    chord = (cluster.throughput_fraction(c, low) + cluster.throughput_fraction(c, high)) / 2.0
    assert cluster.throughput_fraction(c, (low + high) / 2.0) >= chord - 1e-12


@LAW
@given(clusters(), st.sampled_from([1.0, 1.5, math.inf, math.nan]))
def test_no_cap_costs_nothing(c, cap_fraction):
    assert cluster.throughput_fraction(c, cap_fraction) == 1.0
    assert cluster.it_power_kw(c, c.gpus, cap_fraction) == cluster.it_power_kw(c, c.gpus, 1.0)


def test_the_throughput_curve_meets_the_published_measurement():
    power_fraction = (1.0 - 0.137) / 1.068
    assert cluster.throughput_fraction(Cluster(), power_fraction) == pytest.approx(1.0 / 1.068, abs=0.001)


@LAW
@given(clusters(), st.floats(), st.floats())
def test_it_power_stays_between_all_idle_and_all_busy(c, busy, cap_fraction):
    power_kw = cluster.it_power_kw(c, busy, cap_fraction)
    assert cluster.it_power_kw(c, 0.0, 1.0) - 1e-9 <= power_kw <= cluster.job_capacity_kw(c) * (1 + 1e-12) + 1e-9


@LAW
@given(clusters(), FRACTIONS, FRACTIONS, FRACTIONS)
def test_capped_power_lies_within_the_power_limits(c, share, one, other):
    busy = share * c.gpus
    low_kw, high_kw = cluster.power_limits_kw(c, busy)
    caps = sorted((one, other))
    kw = [cluster.it_power_kw(c, busy, cap) for cap in caps]
    assert low_kw <= kw[0] <= kw[1] <= high_kw


@LAW
@given(clusters(), FRACTIONS)
def test_it_power_equals_a_sum_over_gpus(c, share):
    busy = int(share * min(c.gpus, 500))
    c = c._replace(gpus=min(c.gpus, 500))
    watts = [c.loaded_w_per_gpu + c.loaded_overhead_w_per_gpu] * busy
    watts += [c.idle_w_per_gpu + c.idle_overhead_w_per_gpu] * (c.gpus - busy)
    assert cluster.it_power_kw(c, busy, 1.0) == pytest.approx(math.fsum(watts) / 1000.0)


@LAW
@given(clusters(), FRACTIONS)
def test_the_job_budget_inverts_it_power(c, share):
    job_kw = share * cluster.job_capacity_kw(c)
    it_kw = cluster.it_power_kw(c, cluster.busy_gpus(c, job_kw), 1.0)
    assert cluster.job_budget_kw(c, it_kw) == pytest.approx(job_kw, rel=1e-6, abs=1e-6 * cluster.job_capacity_kw(c))


@LAW
@given(clusters(), st.floats())
def test_the_job_budget_keeps_any_limit_above_the_idle_floor(c, limit_kw):
    job_kw = cluster.job_budget_kw(c, limit_kw)
    assert 0.0 <= job_kw <= cluster.job_capacity_kw(c)
    idle_kw = cluster.it_power_kw(c, 0.0, 1.0)
    allowed_kw = max(limit_kw, idle_kw) if limit_kw == limit_kw else idle_kw
    assert cluster.it_power_kw(c, cluster.busy_gpus(c, job_kw), 1.0) <= allowed_kw * (1 + 1e-9) + 1e-9


def test_jobs_take_no_gpu_that_is_not_there():
    c = Cluster()
    assert cluster.busy_gpus(c, 1e9) == c.gpus
    assert cluster.busy_gpus(c, -5.0) == cluster.busy_gpus(c, math.nan) == 0.0


def test_the_default_cluster_is_the_one_the_generator_was_made_for():
    c = cluster.checked(Cluster())
    assert c.gpus == REFERENCE_GPUS
    assert cluster.job_capacity_kw(c) == pytest.approx(CAPACITY_KW)
    assert 580.0 < cluster.it_power_kw(c, c.gpus, 1.0) <= 600.0


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"gpus": math.nan}, "finite"),
        ({"gpus": 0.0}, "at least 1"),
        ({"idle_w_per_gpu": -1.0}, "0 or above"),
        ({"idle_w_per_gpu": 500.0}, "a busy GPU draws no less"),
        ({"idle_overhead_w_per_gpu": 300.0}, "a busy GPU draws no less"),
        ({"idle_w_per_gpu": 0.06, "loaded_w_per_gpu": 0.4}, "watts per GPU"),
        ({"throughput_exponent": 1.5}, "at most 1"),
        ({"min_cap_fraction": 0.0}, "above 0"),
    ],
)
def test_a_wrong_parameter_is_named(change, hint):
    with pytest.raises(ValueError, match=hint):
        cluster.checked(Cluster()._replace(**change))
