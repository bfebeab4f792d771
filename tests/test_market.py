"""Laws of the uniform-price auction and of block clearing, against linear programs and brute force."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from models import market
from models.blocks import Block, clear_with_blocks
from models.market import clear_book

laws = settings(deadline=None, max_examples=80)
prices = st.one_of(st.integers(-20, 60).map(float), st.floats(-500.0, 3000.0, allow_subnormal=False))
quantities = st.one_of(st.integers(1, 12).map(float), st.floats(0.5, 900.0))
order = st.tuples(st.sampled_from(["buy", "sell"]), prices, quantities)
books = st.lists(order, min_size=1, max_size=12)


def frame(rows, **columns):
    table = pd.DataFrame(rows, columns=["side", "price_gbp_per_mwh", "quantity_kw"])
    return table.assign(order_id=[f"o{i:02}" for i in range(len(rows))], **columns)


def program(rows):
    """Greatest welfare and the greatest volume with it, by two linear programs."""
    sign = np.array([1.0 if side == "buy" else -1.0 for side, _, _ in rows])
    worth = sign * np.array([price for _, price, _ in rows])
    options = {"bounds": [(0.0, q) for *_, q in rows], "A_eq": sign[None, :], "b_eq": [0.0], "method": "highs"}
    best = linprog(-worth, **options)
    volume = linprog(np.where(sign > 0.0, -1.0, 0.0), A_ub=-worth[None, :], b_ub=[best.fun + 1e-7], **options)
    return -best.fun / 1000.0, -volume.fun


def support(rows, accepted_kw):
    """Lowest and highest price at which nobody wants another volume than `accepted_kw`."""
    low, high = -math.inf, math.inf
    for (side, price, quantity_kw), kw in zip(rows, accepted_kw, strict=True):
        some, more = kw > 1e-9 * quantity_kw, kw < quantity_kw * (1.0 - 1e-9)
        if some if side == "sell" else more:
            low = max(low, price)
        if more if side == "sell" else some:
            high = min(high, price)
    return low, high


@laws
@given(books)
def test_welfare_and_volume_equal_the_linear_program(rows):
    clearing = clear_book(frame(rows))
    welfare, volume_kw = program(rows)
    assert clearing.welfare_gbp_per_h == pytest.approx(welfare, rel=1e-7, abs=1e-7)
    if all(float(p).is_integer() for _, p, _ in rows):  # else a solver may trade a hair's breadth of loss for volume
        assert clearing.volume_kw == pytest.approx(volume_kw, rel=1e-6, abs=1e-4)


@laws
@given(books)
def test_no_accepted_order_loses_and_no_rejected_one_would_have_gained(rows):
    clearing = clear_book(frame(rows))
    low, high = support(rows, clearing.accepted_kw)
    assert low <= clearing.price_gbp_per_mwh <= high
    assert clearing.price_gbp_per_mwh == low or low == -math.inf, "the lowest supporting price is the rule"


@laws
@given(books)
def test_supply_equals_demand_and_payments_in_equal_payments_out(rows):
    book = frame(rows)
    clearing = clear_book(book)
    kw = clearing.accepted_kw.to_numpy()
    bought = (book["side"] == "buy").to_numpy()
    assert kw[bought].sum() == pytest.approx(clearing.volume_kw, abs=1e-9)
    assert kw[~bought].sum() == pytest.approx(clearing.volume_kw, abs=1e-9)
    paid, received = (clearing.price_gbp_per_mwh * kw[mask].sum() for mask in (bought, ~bought))
    assert paid == pytest.approx(received, rel=1e-9, abs=1e-6)
    assert ((kw >= 0.0) & (kw <= book["quantity_kw"] * (1.0 + 1e-12))).all()


@laws
@given(books, st.randoms(use_true_random=False))
def test_order_of_the_book_changes_nothing(rows, random):
    book = frame(rows)
    first, second = clear_book(book), clear_book(book.iloc[random.sample(range(len(rows)), len(rows))])
    assert first.price_gbp_per_mwh == second.price_gbp_per_mwh
    np.testing.assert_allclose(second.accepted_kw[first.accepted_kw.index], first.accepted_kw, rtol=1e-9, atol=1e-9)


@laws
@given(books, prices, quantities)
def test_more_supply_never_raises_and_more_demand_never_lowers_the_price(rows, price, quantity_kw):
    before = clear_book(frame(rows)).price_gbp_per_mwh
    assert clear_book(frame([*rows, ("sell", price, quantity_kw)])).price_gbp_per_mwh <= before
    if any(side == "buy" for side, _, _ in rows):  # a first bid ends the quotation of the lowest offer
        assert clear_book(frame([*rows, ("buy", price, quantity_kw)])).price_gbp_per_mwh >= before


@laws
@given(books)
def test_orders_tied_at_one_price_are_served_in_the_same_proportion(rows):
    rows = [(side, float(round(price / 20.0)), quantity_kw) for side, price, quantity_kw in rows]
    served = frame(rows).assign(fraction=clear_book(frame(rows)).accepted_kw.to_numpy())
    served["fraction"] /= served["quantity_kw"]
    spread = served.groupby(["side", "price_gbp_per_mwh"])["fraction"].agg(np.ptp)
    assert spread.max() <= 1e-9


def test_a_long_book_is_sorted_the_same_way():
    random = np.random.default_rng(1)
    rows = [
        (side, float(price), float(kw))
        for side, price, kw in zip(
            random.choice(["buy", "sell"], 400),
            random.integers(0, 80, 400),
            random.integers(1, 9, 400),
            strict=True,
        )
    ]
    clearing = clear_book(frame(rows))
    assert (clearing.welfare_gbp_per_h, clearing.volume_kw) == pytest.approx(program(rows), abs=1e-4)
    low, high = support(rows, clearing.accepted_kw)
    assert low == clearing.price_gbp_per_mwh <= high


@pytest.mark.parametrize(
    ("rows", "price", "volume_kw"),
    [
        ([("buy", 3000, 400), ("buy", 3000, 100), ("sell", 100, 300), ("sell", 50, 200)], 100, 500),
        ([("buy", 3000, 400), ("sell", 100, 300), ("sell", 50, 200), ("sell", 60, 230)], 60, 400),
        ([("buy", 10, 5), ("sell", -30, 8)], -30, 5),
        ([("buy", -5, 5), ("sell", -30, 3)], -5, 3),
    ],
)
def test_small_examples(rows, price, volume_kw):
    clearing = clear_book(frame(rows))
    assert (clearing.price_gbp_per_mwh, clearing.volume_kw) == (price, volume_kw)


def test_scarce_supply_is_priced_by_the_bid_that_goes_short():
    rows = [("buy", 3000, 700), ("sell", 100, 300), ("sell", 50, 200)]
    clearing = clear_book(frame(rows))
    assert (clearing.volume_kw, list(clearing.accepted_kw)) == (500, [500, 300, 200])
    # A published example pays the last accepted offer, 100, at which the buyer wants 200 kW more: no dual price.
    assert support(rows, clearing.accepted_kw) == (3000, 3000)
    assert clearing.price_gbp_per_mwh == 3000


def test_a_flexibility_auction_is_a_book_in_which_the_network_operator_buys_turn_down():
    sites = [("sell", 150, 300), ("sell", 80, 200), ("sell", 400, 500)]
    enough = clear_book(frame([("buy", 250, 450), *sites]))
    assert (enough.price_gbp_per_mwh, list(enough.accepted_kw)) == (150, [450, 250, 200, 0])
    short = clear_book(frame([("buy", 250, 900), *sites]))
    assert (short.price_gbp_per_mwh, list(short.accepted_kw)) == (250, [500, 300, 200, 0]), "the cap, not 400"


def test_books_with_one_side_or_none_trade_nothing():
    offers, bids, nothing = (clear_book(frame(r)) for r in ([("sell", 20, 5), ("sell", 9, 5)], [("buy", 20, 5)], []))
    assert (offers.price_gbp_per_mwh, bids.price_gbp_per_mwh) == (9, 20)
    assert offers.volume_kw == bids.volume_kw == nothing.volume_kw == 0
    assert math.isnan(nothing.price_gbp_per_mwh)
    assert clear_book(frame([("buy", 10, 5), ("sell", 20, 5)])).volume_kw == 0


def test_rounding_leaves_no_crumb_to_a_dearer_offer():
    assert 0.9 - (0.1 + 0.1 + 0.7) > 0.0, "the numbers no longer leave a crumb"
    rows = [("buy", 100, 0.9), ("sell", 10, 0.1), ("sell", 11, 0.1), ("sell", 20, 0.7), ("sell", 90, 1.0)]
    clearing = clear_book(frame(rows))
    assert (clearing.price_gbp_per_mwh, clearing.accepted_kw["o04"]) == (20, 0.0)


def test_an_order_with_nan_asks_for_nothing_inside_the_kernel():
    sold, bought = np.empty(3), np.empty(1)
    offers = np.array([math.nan, 20.0, 10.0]), np.array([5.0, 5.0, math.nan])
    assert market.clear(*offers, np.array([50.0]), np.array([3.0]), sold, bought) == (20.0, 3.0)
    assert (list(sold), list(bought)) == ([0.0, 3.0, 0.0], [3.0])


@pytest.mark.parametrize(
    ("column", "bad"),
    [
        ("price_gbp_per_mwh", math.nan),
        ("price_gbp_per_mwh", math.inf),
        ("price_gbp_per_mwh", 1e6),
        ("quantity_kw", -1.0),
        ("quantity_kw", math.nan),
        ("quantity_kw", 1e9),
        ("side", "offer"),
        ("order_id", "o00"),
    ],
)
def test_bad_orders_are_refused(column, bad):
    book = frame([("buy", 10.0, 5.0), ("sell", 5.0, 5.0)])
    book[column] = [book[column][0], bad]
    with pytest.raises(ValueError, match=column):
        clear_book(book)
    with pytest.raises(ValueError, match=column):
        clear_with_blocks(book.assign(period=0), [])


def test_a_book_without_a_column_is_refused():
    with pytest.raises(ValueError, match="side"):
        clear_book(frame([("buy", 10.0, 5.0)]).drop(columns="side"))
    with pytest.raises(ValueError, match="period"):
        clear_with_blocks(frame([("buy", 10.0, 5.0)]), [])


# Blocks


def hours(*books):
    """One table from a list of rows per period."""
    return frame([row for book in books for row in book], period=[t for t, book in enumerate(books) for _ in book])


def two_hours(first_price):
    demand, dear = ("buy", 3000, 1000), ("sell", 100, 1000)
    return hours([demand, dear, ("sell", first_price, 1000)], [demand, dear, ("sell", 50, 1000)])


@pytest.mark.parametrize(
    ("first_price", "profile_kw", "limit", "accepted"),
    [
        (50, (100, 100), 75, False),
        (50, (100, 100), 45, True),
        (41, (100, 100), 45, True),
        (40, (100, 100), 45, False),  # surplus exactly 0: the tie rule keeps the block out
        (39, (100, 100), 45, False),
        (40, (100, 900), 45, True),
    ],
)
def test_blocks_over_two_hours(first_price, profile_kw, limit, accepted):
    result = clear_with_blocks(two_hours(first_price), [Block("b", "sell", limit, profile_kw)])
    assert list(result.accepted_fraction) == [float(accepted)]
    np.testing.assert_allclose(result.price_gbp_per_mwh, [first_price, 50])
    np.testing.assert_allclose(result.volume_kw, [1000, 1000])


@pytest.mark.parametrize(
    ("parent_limit", "child_limit", "accepted"), [(120, 75, [1, 1]), (130, 75, [0, 0]), (90, 120, [1, 0])]
)
def test_a_child_may_save_its_parent_but_not_be_saved(parent_limit, child_limit, accepted):
    parent = Block("parent", "sell", parent_limit, (100,))
    child = Block("child", "sell", child_limit, (100,), parent_id="parent")
    result = clear_with_blocks(hours([("buy", 3000, 999), ("sell", 100, 1000)]), [parent, child])
    assert list(result.accepted_fraction) == accepted
    np.testing.assert_allclose(result.price_gbp_per_mwh, [100])


def test_a_block_that_would_lose_stays_out_though_welfare_would_be_greater_with_it():
    orders = hours([("buy", 300, 10), ("buy", 10, 14), ("sell", 100, 13)])
    result = clear_with_blocks(orders, [Block("b", "sell", 40, (12,), min_acceptance_fraction=11 / 12)])
    assert list(result.accepted_fraction) == [0]
    np.testing.assert_allclose(result.price_gbp_per_mwh, [100])
    assert 1000 * result.welfare_gbp_per_h == pytest.approx(10 * 300 - 10 * 100)
    assert 10 * 300 + 1 * 10 - 11 * 40 > 2000, "what the block at a loss would have brought"


def test_three_hours_without_blocks():
    demand = [(4, 3), (6, 6), (10, 12)]
    orders = hours(*[[("buy", 100, a), ("buy", 100, b), ("sell", 5, 15), ("sell", 3, 20)] for a, b in demand])
    result = clear_with_blocks(orders, [])
    np.testing.assert_allclose(result.price_gbp_per_mwh, [3, 3, 5])
    np.testing.assert_allclose(result.volume_kw, [7, 12, 22])


def test_no_linear_price_exists_for_an_efficient_trade_so_it_does_not_happen():
    seller = Block("seller", "sell", 3, (3,))
    result = clear_with_blocks(hours([("buy", 4, 2), ("buy", 2, 1)]), [seller])
    assert list(result.accepted_fraction) == [0]
    assert result.welfare_gbp_per_h == 0


def test_a_block_may_be_rejected_paradoxically():
    a, b = Block("a", "buy", 2.5, (2,)), Block("b", "buy", 3, (1,))
    result = clear_with_blocks(hours([("sell", 1, 2)]), [a, b])
    assert list(result.accepted_fraction) == [1, 0]
    assert 1 <= result.price_gbp_per_mwh[0] <= 2.5, "block b bids 3 and gets nothing"


def test_of_an_exclusive_group_one_is_accepted():
    blocks = [Block(name, "sell", limit, (5,), exclusive_group="plant") for name, limit in (("a", 20), ("b", 10))]
    result = clear_with_blocks(hours([("buy", 100, 50), ("sell", 60, 50)]), blocks)
    assert list(result.accepted_fraction) == [0, 1]
    assert result.price_gbp_per_mwh[0] == pytest.approx(60)


def test_equal_blocks_tie_to_the_fewest_and_then_the_lowest_id():
    halves = [Block("x", "sell", 10, (5,)), Block("w", "sell", 10, (5,))]
    result = clear_with_blocks(hours([("buy", 100, 5), ("sell", 60, 5)]), halves)
    assert list(result.accepted_fraction) == [0, 1]
    one = clear_with_blocks(hours([("buy", 100, 10), ("sell", 60, 9)]), [*halves, Block("z", "sell", 10, (10,))])
    assert list(one.accepted_fraction) == [0, 0, 1]


def test_a_curtailable_block_at_the_margin_sets_the_price_and_is_cut():
    orders = hours([("buy", 100, 12), ("sell", 10, 5), ("sell", 60, 20)])
    result = clear_with_blocks(orders, [Block("b", "sell", 40, (10,), min_acceptance_fraction=0.3)])
    assert result.accepted_fraction["b"] == pytest.approx(0.7)
    np.testing.assert_allclose(result.price_gbp_per_mwh, [40])


def test_a_period_that_only_a_block_serves_is_priced_so_that_the_block_does_not_lose():
    result = clear_with_blocks(hours([("buy", 3000, 100)]), [Block("b", "sell", 45, (100,))])
    assert list(result.accepted_fraction) == [1]
    np.testing.assert_allclose(result.price_gbp_per_mwh, [45])


def test_a_period_without_orders_has_no_price():
    result = clear_with_blocks(hours([("buy", 30, 10), ("sell", 20, 10)], []), [Block("b", "sell", 10, (5, 0))])
    assert result.price_gbp_per_mwh[0] == pytest.approx(20)
    assert math.isnan(result.price_gbp_per_mwh[1])
    assert clear_with_blocks(hours(), []).price_gbp_per_mwh.size == 0


def test_blocks_alone_make_a_market():
    blocks = [Block("load", "buy", 50, (5, 5)), Block("plant", "sell", 30, (5, 5))]
    result = clear_with_blocks(hours([], []), blocks)
    assert list(result.accepted_fraction) == [1, 1]
    np.testing.assert_allclose(result.volume_kw, [5, 5])
    assert 30 - 1e-3 <= result.price_gbp_per_mwh.mean() <= 50


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"side": "offer"}, "side"),
        ({"price_gbp_per_mwh": math.nan}, "price_gbp_per_mwh"),
        ({"quantity_kw": (1.0, -1.0)}, "quantity_kw"),
        ({"quantity_kw": (1.0, math.inf)}, "quantity_kw"),
        ({"quantity_kw": (1.0,)}, "period"),
        ({"min_acceptance_fraction": 0.0}, "min_acceptance_fraction"),
        ({"min_acceptance_fraction": math.nan}, "min_acceptance_fraction"),
        ({"parent_id": "nobody"}, "parent_id"),
        ({"parent_id": "b"}, "circle"),
    ],
)
def test_bad_blocks_are_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        clear_with_blocks(two_hours(50), [Block("b", "sell", 45, (1.0, 1.0))._replace(**changes)])


def test_repeated_blocks_and_unequal_profiles_are_refused():
    block = Block("b", "sell", 45, (1.0, 1.0))
    with pytest.raises(ValueError, match="repeated"):
        clear_with_blocks(two_hours(50), [block, block])
    with pytest.raises(ValueError, match="lengths"):
        clear_with_blocks(two_hours(50), [block, Block("c", "sell", 45, (1.0,))])


sides = st.sampled_from(["buy", "sell"])
pounds, kilowatts = st.integers(0, 60), st.integers(1, 10)
rows_of_an_hour = st.lists(st.tuples(sides, pounds, kilowatts), min_size=1, max_size=4)
profiles = st.tuples(st.integers(0, 8), st.integers(1, 8))
block_shapes = st.tuples(sides, pounds, profiles, st.sampled_from([1.0, 1.0, 0.5, 0.25]), st.integers(-3, 1))


def make_blocks(shapes, ratios=True, parents=True):
    """The last number of a shape points back to a parent that came before, or to none."""
    return [
        Block(f"b{k}", side, p, q, ratio if ratios else 1.0, f"b{k + back}" if parents and 0 <= k + back < k else None)
        for k, (side, p, q, ratio, back) in enumerate(shapes)
    ]


def families(blocks):
    parents = {b.block_id: b.parent_id for b in blocks}
    for b in blocks:
        family = {b.block_id}
        for _ in blocks:
            family |= {child for child, parent in parents.items() if parent in family}
        yield [k for k, other in enumerate(blocks) if other.block_id in family]


def gains(blocks, price):
    """GBP per MWh times kW that each block earns at full acceptance."""
    return np.array(
        [(1 if b.side == "sell" else -1) * ((price - b.price_gbp_per_mwh) @ np.array(b.quantity_kw)) for b in blocks]
    )


def assert_clearing_is_an_equilibrium(books, blocks, result):
    fractions = result.accepted_fraction.to_numpy()
    for b, fraction in zip(blocks, fractions, strict=True):
        assert fraction == 0.0 or b.min_acceptance_fraction - 1e-6 <= fraction <= 1.0
        assert b.parent_id is None or fraction <= result.accepted_fraction[b.parent_id] + 1e-6
    earned = fractions * gains(blocks, result.price_gbp_per_mwh)
    for k, family in enumerate(families(blocks)):
        assert fractions[k] == 0.0 or earned[family].sum() >= -1e-2, "an accepted block loses"
    start = 0
    for t, rows in enumerate(books):
        kw = result.accepted_kw.to_numpy()[start : start + len(rows)]
        start += len(rows)
        net = sum(x if side == "sell" else -x for x, (side, _, _) in zip(kw, rows, strict=True))
        net += sum(
            (1 if b.side == "sell" else -1) * f * b.quantity_kw[t] for b, f in zip(blocks, fractions, strict=True)
        )
        assert net == pytest.approx(0.0, abs=1e-5)
        for (side, price, quantity_kw), x in zip(rows, kw, strict=True):
            gain = (result.price_gbp_per_mwh[t] - price) * (1 if side == "sell" else -1)
            assert gain >= -1e-4 or x <= 1e-4, "an accepted order loses"
            assert gain <= 1e-4 or x >= quantity_kw - 1e-4, "a rejected order would have gained"


def hour_given_blocks(rows, net_kw):
    """Welfare and interval of supporting prices of one hour when blocks add `net_kw`; None when that cannot balance."""
    taker = ("sell", -1e9, net_kw) if net_kw >= 0 else ("buy", 1e9, -net_kw)
    sign = np.array([1.0 if side == "buy" else -1.0 for side, _, _ in rows])
    worth = sign * np.array([float(price) for _, price, _ in rows])
    best = linprog(-worth, bounds=[(0, q) for *_, q in rows], A_eq=sign[None, :], b_eq=[net_kw], method="highs")
    if best.x is None:
        return None
    low, high = support([*rows, taker], [*best.x, abs(net_kw)])
    return -best.fun, max(low, -1e6), min(high, 1e6)


def brute_force_all_or_nothing(books, blocks):
    """Best welfare (GBP/MWh * kW) over every set of accepted blocks that some supporting prices let none lose."""
    best = -math.inf
    for chosen in itertools.product([0.0, 1.0], repeat=len(blocks)):
        accepted = {b.block_id for b, c in zip(blocks, chosen, strict=True) if c}
        if any(b.parent_id is not None and b.parent_id not in accepted for b in blocks if b.block_id in accepted):
            continue
        signed = [c * (1 if b.side == "sell" else -1) for b, c in zip(blocks, chosen, strict=True)]
        net = [sum(s * b.quantity_kw[t] for s, b in zip(signed, blocks, strict=True)) for t in range(len(books))]
        markets = [hour_given_blocks(rows, kw) for rows, kw in zip(books, net, strict=True)]
        if None in markets:
            continue
        welfare = sum(m[0] for m in markets)
        welfare -= sum(s * b.price_gbp_per_mwh * sum(b.quantity_kw) for s, b in zip(signed, blocks, strict=True))
        rows, limits = [], []
        for k, family in enumerate(families(blocks)):
            if chosen[k]:
                rows.append([-sum(signed[j] * blocks[j].quantity_kw[t] for j in family) for t in range(len(books))])
                limits.append(
                    -sum(signed[j] * blocks[j].price_gbp_per_mwh * sum(blocks[j].quantity_kw) for j in family)
                )
        prices_exist = linprog(
            np.zeros(len(books)),
            A_ub=rows or None,
            b_ub=limits or None,
            bounds=[m[1:] for m in markets],
            method="highs",
        )
        if prices_exist.x is not None:
            best = max(best, welfare)
    return best


def brute_force_curtailable(books, blocks):
    """The same for unlinked blocks of any ratio: volumes, prices and rents in one program, primal = dual welfare."""
    rows = [(t, *row) for t, book in enumerate(books) for row in book]
    sign = np.array(
        [1.0 if r[1] == "sell" else -1.0 for r in rows] + [1.0 if b.side == "sell" else -1.0 for b in blocks]
    )
    kw = np.zeros((len(books), sign.size))
    for i, (t, _, _, quantity_kw) in enumerate(rows):
        kw[t, i] = quantity_kw
    for k, b in enumerate(blocks):
        kw[:, len(rows) + k] = b.quantity_kw
    limit = np.array([r[2] for r in rows] + [b.price_gbp_per_mwh for b in blocks], dtype=float)
    supply, worth = sign * kw, -sign * limit * kw.sum(axis=0)
    n, n_t = sign.size, len(books)
    best = -math.inf
    for chosen in itertools.product([0.0, 1.0], repeat=len(blocks)):
        high = np.array([1.0] * len(rows) + list(chosen))
        low = np.array([0.0] * len(rows) + [c * b.min_acceptance_fraction for b, c in zip(blocks, chosen, strict=True)])
        # variables: fractions, prices, rent of the upper bound, rent of the lower bound
        one, zero = np.eye(n), np.zeros((n, n))
        dual = np.hstack([zero, -supply.T, one, -one])  # rent_up - rent_low = gain = worth + supply' price
        strong = np.concatenate([worth, np.zeros(n_t), -high, low])
        in_blocks = [len(rows) + k for k, c in enumerate(chosen) if c]
        no_loss = np.hstack([zero, -supply.T, zero, zero])[in_blocks]
        found = linprog(
            np.concatenate([-worth, np.zeros(n_t + 2 * n)]),
            A_eq=np.vstack([np.hstack([supply, np.zeros((n_t, n_t + 2 * n))]), dual]),
            b_eq=np.concatenate([np.zeros(n_t), worth]),
            A_ub=np.vstack([no_loss, -strong]),
            b_ub=np.concatenate([worth[in_blocks], [1e-6]]),
            bounds=[*zip(low, high, strict=True), *[(-1e6, 1e6)] * n_t, *[(0, None)] * (2 * n)],
            method="highs",
        )
        if found.x is not None:
            best = max(best, -found.fun)
    return best


@settings(deadline=None, max_examples=60)
@given(st.tuples(rows_of_an_hour, rows_of_an_hour), st.lists(block_shapes, min_size=1, max_size=4))
def test_all_or_nothing_and_linked_blocks_equal_brute_force(books, shapes):
    blocks = make_blocks(shapes, ratios=False)
    result = clear_with_blocks(hours(*books), blocks)
    assert_clearing_is_an_equilibrium(books, blocks, result)
    assert 1000 * result.welfare_gbp_per_h == pytest.approx(brute_force_all_or_nothing(books, blocks), abs=0.02)


@settings(deadline=None, max_examples=60)
@given(st.tuples(rows_of_an_hour, rows_of_an_hour), st.lists(block_shapes, min_size=1, max_size=4))
def test_curtailable_blocks_equal_brute_force(books, shapes):
    blocks = make_blocks(shapes, parents=False)
    result = clear_with_blocks(hours(*books), blocks)
    assert_clearing_is_an_equilibrium(books, blocks, result)
    assert 1000 * result.welfare_gbp_per_h == pytest.approx(brute_force_curtailable(books, blocks), abs=0.02)


@settings(deadline=None, max_examples=40)
@given(st.tuples(rows_of_an_hour, rows_of_an_hour), st.lists(block_shapes, min_size=2, max_size=5))
def test_linked_curtailable_blocks_never_lose_and_leave_hourly_orders_content(books, shapes):
    blocks = make_blocks(shapes)
    assert_clearing_is_an_equilibrium(books, blocks, clear_with_blocks(hours(*books), blocks))


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(rows_of_an_hour, rows_of_an_hour),
    st.lists(block_shapes, min_size=2, max_size=4),
    st.randoms(use_true_random=False),
)
def test_order_of_hourly_orders_and_blocks_changes_nothing(books, shapes, random):
    orders, blocks = hours(*books), make_blocks(shapes)
    first = clear_with_blocks(orders, blocks)
    second = clear_with_blocks(
        orders.iloc[random.sample(range(len(orders)), len(orders))], random.sample(blocks, len(blocks))
    )
    np.testing.assert_array_equal(second.price_gbp_per_mwh, first.price_gbp_per_mwh)
    pd.testing.assert_series_equal(second.accepted_fraction[first.accepted_fraction.index], first.accepted_fraction)
    pd.testing.assert_series_equal(second.accepted_kw[first.accepted_kw.index], first.accepted_kw)


@settings(deadline=None, max_examples=40)
@given(st.tuples(rows_of_an_hour, rows_of_an_hour))
def test_without_blocks_every_period_clears_as_a_book_of_its_own(books):
    result = clear_with_blocks(hours(*books), [])
    singles = [clear_book(frame(rows)) for rows in books]
    np.testing.assert_allclose(result.price_gbp_per_mwh, [s.price_gbp_per_mwh for s in singles], atol=1e-6)
    np.testing.assert_allclose(result.volume_kw, [s.volume_kw for s in singles], atol=1e-6)
    np.testing.assert_allclose(result.accepted_kw, np.concatenate([s.accepted_kw for s in singles]), atol=1e-6)
