"""Laws of the VCG auction, against brute force and integer programs."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import auction, vcg
from models.auction import auction_efficiency_metrics, vcg_allocate

PENNY = 1e-5  # tolerance: ties are decided within TIE_GBP

values = st.one_of(st.integers(0, 12).map(float), st.floats(0.0, 50.0, allow_subnormal=False))
bid = st.tuples(values, st.integers(1, 12).map(float), st.booleans())
bid_lists = st.lists(bid, min_size=1, max_size=8)
capacities = st.floats(1.0, 40.0)
reserves = st.sampled_from([0.0, 0.0, 2.0, 7.5])
laws = settings(deadline=None, max_examples=60)


def frame(bids, ids=None):
    rows = pd.DataFrame(bids, columns=["value_gbp_per_kw", "quantity_kw", "divisible"])
    return rows.assign(bidder_id=list(range(len(bids))) if ids is None else ids)


def solve(bids, capacity_kw, reserve=0.0, **options):
    allocation, payments = vcg_allocate(frame(bids), capacity_kw, reserve_gbp_per_kw=reserve, **options)
    return list(allocation.values()), list(payments.values())


def brute_force(bids, capacity_kw, reserve=0.0):
    """Best surplus over every set of fully served bids plus at most one divisible bid served in part."""
    if not bids:
        return 0.0
    value, quantity_kw, divisible = (np.array(column) for column in zip(*bids, strict=True))
    sets = np.array(np.meshgrid(*[[0.0, 1.0]] * len(bids))).reshape(len(bids), -1).T  # (2**n, n)
    room_kw = capacity_kw - sets @ quantity_kw
    sets, room_kw = sets[room_kw >= -1e-9], room_kw[room_kw >= -1e-9]
    part_kw = np.minimum(np.maximum(room_kw, 0.0)[:, None], quantity_kw) * (1.0 - sets) * divisible
    gain = (value - reserve) * part_kw
    return float(np.max(sets @ ((value - reserve) * quantity_kw) + np.maximum(gain.max(axis=1), 0.0)))


def utility(true_bid, got_kw, paid_gbp):
    value, quantity_kw, divisible = true_bid
    useful_kw = min(got_kw, quantity_kw) if divisible or got_kw >= quantity_kw - 1e-9 else 0.0
    return value * useful_kw - paid_gbp


def surplus(bids, allocation_kw, reserve):
    return sum((b[0] - reserve) * x for b, x in zip(bids, allocation_kw, strict=True))


@laws
@given(bid_lists, capacities, reserves)
def test_allocation_and_payments_equal_brute_force(bids, capacity_kw, reserve):
    allocation_kw, payments = solve(bids, capacity_kw, reserve)
    best = brute_force(bids, capacity_kw, reserve)
    assert surplus(bids, allocation_kw, reserve) == pytest.approx(best, abs=PENNY)
    for i, (got_kw, paid) in enumerate(zip(allocation_kw, payments, strict=True)):
        without = brute_force(bids[:i] + bids[i + 1 :], capacity_kw, reserve)
        clarke = reserve * got_kw + without - (best - (bids[i][0] - reserve) * got_kw)
        assert paid == pytest.approx(clarke if got_kw else 0.0, abs=PENNY)


@laws
@given(bid_lists, capacities, reserves)
def test_capacity_is_kept_and_all_or_nothing_is_never_split(bids, capacity_kw, reserve):
    allocation_kw, _ = solve(bids, capacity_kw, reserve)
    assert sum(allocation_kw) <= capacity_kw + 1e-6
    for (value, quantity_kw, divisible), got_kw in zip(bids, allocation_kw, strict=True):
        assert 0.0 <= got_kw <= quantity_kw
        assert divisible or got_kw in (0.0, quantity_kw)
        assert got_kw == 0.0 or value > reserve


@laws
@given(bid_lists, capacities, reserves)
def test_payment_lies_between_reserve_and_bid_and_losers_pay_nothing(bids, capacity_kw, reserve):
    for b, got_kw, paid in zip(bids, *solve(bids, capacity_kw, reserve), strict=True):
        assert reserve * got_kw - 1e-9 <= paid <= b[0] * got_kw + 1e-9
        assert got_kw > 0.0 or paid == 0.0


@settings(deadline=None, max_examples=150)
@given(bid_lists, capacities, reserves, st.integers(0, 7), st.lists(bid, min_size=6, max_size=6))
def test_no_bidder_gains_by_any_misreport_of_value_quantity_or_kind(bids, capacity_kw, reserve, who, lies):
    who %= len(bids)
    true_bid = bids[who]
    honest = utility(true_bid, *(column[who] for column in solve(bids, capacity_kw, reserve)))
    near = [(true_bid[0] * f, true_bid[1], true_bid[2]) for f in (0.0, 0.9, 1.1, 3.0)]
    for lie in lies + near:
        reports = [*bids[:who], lie, *bids[who + 1 :]]
        lying = utility(true_bid, *(column[who] for column in solve(reports, capacity_kw, reserve)))
        assert lying <= honest + PENNY


@laws
@given(bid_lists, capacities, st.integers(0, 7), st.floats(0.0, 60.0))
def test_payment_does_not_depend_on_the_own_bid_while_the_allocation_stays(bids, capacity_kw, who, other_value):
    who %= len(bids)
    reports = [*bids[:who], (other_value, *bids[who][1:]), *bids[who + 1 :]]
    first, second = solve(bids, capacity_kw), solve(reports, capacity_kw)
    if np.allclose(first[0], second[0], rtol=0.0, atol=1e-9):
        assert first[1][who] == pytest.approx(second[1][who], abs=PENNY)


@laws
@given(bid_lists, capacities, reserves)
def test_winners_utility_is_what_their_presence_adds(bids, capacity_kw, reserve):
    best = brute_force(bids, capacity_kw, reserve)
    for i, (got_kw, paid) in enumerate(zip(*solve(bids, capacity_kw, reserve), strict=True)):
        added = best - brute_force(bids[:i] + bids[i + 1 :], capacity_kw, reserve)
        assert bids[i][0] * got_kw - paid == pytest.approx(added, abs=PENNY)


@laws
@given(bid_lists, capacities, reserves, st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(bids, capacity_kw, reserve, random):
    rows = frame(bids, [f"tenant-{i}" for i in range(len(bids))])
    shuffled = rows.iloc[random.sample(range(len(bids)), len(bids))]
    first = vcg_allocate(rows, capacity_kw, reserve_gbp_per_kw=reserve)
    assert vcg_allocate(shuffled, capacity_kw, reserve_gbp_per_kw=reserve) == first


@laws
@given(bid_lists, capacities, st.sampled_from([0.25, 2.0, 16.0]))
def test_scaling_all_prices_scales_payments_and_nothing_else(bids, capacity_kw, factor):
    whole_pounds = [(float(round(v)), q, d) for v, q, d in bids]  # so that near-ties stay ties
    allocation_kw, payments = solve(whole_pounds, capacity_kw)
    scaled_kw, scaled = solve([(factor * v, q, d) for v, q, d in whole_pounds], capacity_kw)
    assert scaled_kw == allocation_kw
    assert scaled == pytest.approx([factor * p for p in payments], abs=PENNY)


@laws
@given(bid_lists, capacities, st.booleans())
def test_a_bidder_that_bids_zero_changes_nothing(bids, capacity_kw, divisible):
    allocation_kw, payments = solve(bids, capacity_kw)
    with_zero = solve([*bids, (0.0, 5.0, divisible)], capacity_kw)
    assert with_zero == ([*allocation_kw, 0.0], [*payments, 0.0])


@settings(deadline=None, max_examples=25)
@given(bid_lists, capacities, reserves)
def test_the_dynamic_program_and_the_integer_program_agree_ties_included(bids, capacity_kw, reserve):
    value, quantity_kw, divisible = (np.array(column) for column in zip(*bids, strict=True))
    by_program = auction._allocate_off_grid(value, quantity_kw, divisible, capacity_kw, reserve)
    np.testing.assert_allclose(by_program, solve(bids, capacity_kw, reserve), atol=PENNY)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(values, st.floats(0.3, 12.0), st.booleans()), min_size=1, max_size=6), capacities)
def test_quantities_off_the_grid_are_exact_too(bids, capacity_kw):
    allocation_kw, payments = solve(bids, capacity_kw)
    best = brute_force(bids, capacity_kw)
    assert surplus(bids, allocation_kw, 0.0) == pytest.approx(best, abs=10 * PENNY)
    for i, (got_kw, paid) in enumerate(zip(allocation_kw, payments, strict=True)):
        without = brute_force(bids[:i] + bids[i + 1 :], capacity_kw)
        assert paid == pytest.approx(without - (best - bids[i][0] * got_kw) if got_kw else 0.0, abs=10 * PENNY)


def test_a_set_that_overfills_by_less_than_the_solvers_tolerance_is_refused():
    bids = [(1.0, 500.0, False), (1.0, 500.0005, False), (0.9, 499.99951, False)]  # the dearest two: 1000.0005 kW
    assert solve(bids, 1000.0)[0] == [500.0, 0.0, 499.99951]


@laws
@given(bid_lists, capacities)
def test_a_finer_grid_gives_the_same_answer(bids, capacity_kw):
    np.testing.assert_allclose(solve(bids, capacity_kw, resolution_kw=0.25), solve(bids, capacity_kw), atol=PENNY)


INSTANCES = {  # bids, capacity, allocation, payments
    "one unit": ([(10, 1, False), (7, 1, False), (3, 1, False)], 1, [1, 0, 0], [7, 0, 0]),
    "two identical units": ([(v, 1, False) for v in (10, 8, 6, 4)], 2, [1, 1, 0, 0], [6, 6, 0, 0]),
    "divisible": ([(50, 60, True), (40, 50, True), (30, 40, True)], 100, [60, 40, 0], [1600, 1200, 0]),
    "all-or-nothing": ([(50, 60, False), (40, 50, False), (30, 40, False)], 100, [60, 0, 40], [2000, 0, 0]),
    "one wants both, two want one": ([(5, 2, False), (10, 1, False), (10, 1, False)], 2, [0, 1, 1], [0, 0, 0]),
}


@pytest.mark.parametrize("name", INSTANCES)
def test_published_instances(name):
    bids, capacity_kw, allocation_kw, payments = INSTANCES[name]
    assert solve(bids, capacity_kw)[0] == allocation_kw
    assert solve(bids, capacity_kw)[1] == pytest.approx(payments, abs=1e-9)


@pytest.mark.parametrize(
    ("offers", "sold_kw", "paid_gbp"),
    [
        ([(20, 60), (30, 50), (45, 50)], [60, 40, 0], [2550, 1800, 0]),
        ([(20, 60), (30, 50)], [60, 40], [7800, 6000]),  # both pivotal: only the buyer's 150 bounds them
    ],
)
def test_procurement_is_the_same_auction_seen_from_the_buyers_alternative(offers, sold_kw, paid_gbp):
    alternative_gbp_per_kw = 150.0  # an offer at c saves the buyer 150 - c per kW: that saving is its bid
    bids = [(alternative_gbp_per_kw - cost, q, True) for cost, q in offers]
    allocation_kw, payments = solve(bids, 100)
    assert allocation_kw == sold_kw
    received = [alternative_gbp_per_kw * x - p for x, p in zip(allocation_kw, payments, strict=True)]
    assert received == pytest.approx(paid_gbp, abs=1e-6)


def test_ties_go_to_the_lower_id_and_all_or_nothing_before_divisible():
    equal = [(5.0, 10.0, False)] * 3
    assert solve(equal, 20.0)[0] == [10.0, 10.0, 0.0]
    assert vcg_allocate(frame(equal, ["c", "b", "a"]), 20.0)[0] == {"c": 0.0, "b": 10.0, "a": 10.0}
    assert solve([(5.0, 10.0, True), (5.0, 10.0, True)], 15.0)[0] == [10.0, 5.0]
    assert solve([(5.0, 10.0, True), (5.0, 10.0, False)], 10.0)[0] == [0.0, 10.0]
    assert solve([(5.0, 4.5, False)] * 3, 9.0)[0] == [4.5, 4.5, 0.0], "off the grid the rule is the same"


def test_the_reserve_is_a_bid_that_must_be_beaten_and_is_the_least_payment():
    assert solve([(5.0, 10.0, True), (9.0, 10.0, False)], 100.0, reserve=5.0) == ([0.0, 10.0], [0.0, 50.0])


def test_two_hundred_all_or_nothing_tenants_match_the_integer_program():
    random = np.random.default_rng(0)
    bids = [(v, float(q), False) for v, q in zip(random.uniform(1, 10, 200), random.integers(1, 60, 200), strict=True)]
    allocation_kw, _ = solve(bids, 1000.0)
    value, quantity_kw, _ = (np.array(column) for column in zip(*bids, strict=True))
    ones = np.ones(200)
    best = auction._best_allocation(value, quantity_kw, ones == 0.0, 1000.0, 0 * ones, ones)
    assert surplus(bids, allocation_kw, 0.0) == pytest.approx(value @ best, abs=1e-4)


def test_a_nan_bid_asks_for_nothing_inside_the_kernel():
    room = vcg.room(3, 10.0, 1.0)
    value, quantity_kw = np.array([math.nan, 5.0, 4.0]), np.array([5.0, math.nan, 5.0])
    welfare = vcg.allocate(value, quantity_kw, np.zeros(3, bool), 10.0, 0.0, 1.0, room)
    assert (welfare, list(room.allocation_kw), list(room.payment_gbp)) == (20.0, [0.0, 0.0, 5.0], [0.0, 0.0, 0.0])
    assert vcg.allocate(value, quantity_kw, np.zeros(3, bool), math.nan, 0.0, 1.0, room) == 0
    assert not room.allocation_kw.any()


def test_the_kernel_holds_off_grid_bids_in_whole_cells_and_never_oversells():
    room = vcg.room(2, 10.0, 1.0)
    two = np.array([1.0, 1.0])
    vcg.allocate(two, np.array([5.5, 4.5]), np.zeros(2, bool), 10.0, 0.0, 1.0, room)
    assert list(room.allocation_kw) == [5.5, 0.0]


def test_no_bids_or_no_capacity_sell_nothing():
    assert vcg_allocate(frame([]), 100.0) == ({}, {})
    assert solve([(5.0, 10.0, False), (5.0, 1.0, True)], 0.0) == ([0.0, 0.0], [0.0, 0.0])
    assert solve([(5.0, 200.0, False)], 100.0) == ([0.0], [0.0]), "a whole that does not fit wins nothing"
    assert solve([(5.0, 0.0, False), (5.0, 10.0, False)], 10.0) == ([0.0, 10.0], [0.0, 0.0])


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, 2e6])
def test_bad_numbers_are_refused(bad):
    good = frame([(5.0, 10.0, False), (4.0, 10.0, True)])
    for column in ("value_gbp_per_kw", "quantity_kw"):
        with pytest.raises(ValueError, match=column):
            vcg_allocate(good.assign(**{column: [1.0, bad]}), 100.0)
        with pytest.raises(ValueError, match="parse"):
            vcg_allocate(good.assign(**{column: ["1", "one"]}), 100.0)
    with pytest.raises(ValueError, match="total_capacity"):
        vcg_allocate(good, bad)
    with pytest.raises(ValueError, match="reserve_gbp_per_kw"):
        vcg_allocate(good, 100.0, reserve_gbp_per_kw=bad)


@pytest.mark.parametrize("resolution_kw", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_resolution_is_refused(resolution_kw):
    with pytest.raises(ValueError, match="resolution_kw"):
        solve([(5.0, 10.0, False)], 100.0, resolution_kw=resolution_kw)


def test_bad_tables_are_refused():
    good = frame([(5.0, 10.0, False), (4.0, 10.0, True)], ["a", "b"])
    with pytest.raises(ValueError, match="divisible"):
        vcg_allocate(good.drop(columns="divisible"), 100.0)
    with pytest.raises(ValueError, match="repeated"):
        vcg_allocate(good.assign(bidder_id="a"), 100.0)
    with pytest.raises(ValueError, match="missing"):
        vcg_allocate(good.assign(bidder_id=["a", None]), 100.0)
    with pytest.raises(ValueError, match="True or False"):
        vcg_allocate(good.assign(divisible=["yes", "no"]), 100.0)
    with pytest.raises(ValueError, match="1000 times"):
        vcg_allocate(good.assign(quantity_kw=100_000.0), 1.0)


def test_metrics_of_the_optimum_and_of_worse_allocations():
    bids = frame([(50.0, 60.0, False), (40.0, 50.0, False), (30.0, 40.0, False)], ["a", "b", "c"])
    allocation, payments = vcg_allocate(bids, 100.0)
    best = auction_efficiency_metrics(allocation, bids, total_capacity=100.0, payments=payments)
    assert best["welfare_gbp"] == best["optimal_welfare_gbp"] == 4200.0
    assert (best["efficiency_fraction"], best["allocated_kw"], best["revenue_gbp"]) == (1.0, 100.0, 2000.0)
    assert best["jain_index"] == pytest.approx(2 / 3)
    alone = auction_efficiency_metrics({"b": 50.0}, bids, total_capacity=100.0)
    assert alone["efficiency_fraction"] == pytest.approx(2000 / 4200)
    assert alone["jain_index"] == pytest.approx(1 / 3)
    assert "revenue_gbp" not in alone
    assert auction_efficiency_metrics({"b": 50.0}, bids)["efficiency_fraction"] == 1.0, "50 kW cannot be placed better"
    assert auction_efficiency_metrics({"a": 59.0}, bids)["welfare_gbp"] == 0.0, "a part of the whole is worth nothing"
    nothing = auction_efficiency_metrics({}, bids)
    assert (nothing["efficiency_fraction"], nothing["jain_index"]) == (1.0, 1.0)


@laws
@given(bid_lists, capacities)
def test_no_allocation_is_more_efficient_than_the_auctions(bids, capacity_kw):
    allocation, _ = vcg_allocate(frame(bids), capacity_kw)
    metrics = auction_efficiency_metrics(allocation, frame(bids), total_capacity=capacity_kw)
    assert metrics["efficiency_fraction"] == pytest.approx(1.0)
    assert 1.0 / len(bids) - 1e-9 <= metrics["jain_index"] <= 1.0 + 1e-9


def test_metrics_refuse_what_cannot_be():
    bids = frame([(5.0, 10.0, False)], ["a"])
    with pytest.raises(ValueError, match="did not bid"):
        auction_efficiency_metrics({"z": 1.0}, bids)
    with pytest.raises(ValueError, match="allocation"):
        auction_efficiency_metrics({"a": -1.0}, bids)
    with pytest.raises(ValueError, match="allocation"):
        auction_efficiency_metrics({"a": math.nan}, bids)
    with pytest.raises(ValueError, match="total_capacity"):
        auction_efficiency_metrics({"a": 10.0}, bids, total_capacity=5.0)
