"""
The health rules as scenarios in data: what happens to one deployment, and what it then is.

A scenario is a line of words, read from left to right.

====================  ===============================================================================
``+7``                seven seconds pass
``ok``                a call succeeds
``500`` …             a call ends so: 500, hang, refused, dns, fds (no descriptors left), short (a
                      time-out too short to be fair), 429, 429:7 (with Retry-After), 529, 529:7,
                      loading, 401, quota
``begin``, ``end``    a call starts; that call succeeds
``ping:ok``           a ping ends so; any of the ends above may follow the colon
``probe:ok``          a check by a completion ends so
``ask``               the next check starts here, not where it ends
``vetoed:True``       whether the last failed check was vetoed
``row:2``             so many live faults stand in a row
``acquit``            the last fault is taken back
``pardon``            the network was ours
``word*9``            nine times in a row
``=unhealthy``        this is the state that users see
``healthy``, ``sick`` this is what ``healthy`` says
``open``, ``shut``    calls may go there now, or not
``room:2``            so many calls may be there at a time
``why:text``          the reason is this
====================  ===============================================================================
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand import ENDS, end

from llmpool.health import UNMEASURED, Evidence, Health, Limits
from llmpool.outcomes import Outcome
from llmpool.tally import Tally

ALONE = Limits()
"""No checker runs."""

PINGED = Limits(hold=15.0, checks=Evidence.PING)
PROBED = Limits(hold=15.0, checks=Evidence.COMPLETION)

KINDS = [kind for kind in ENDS if kind not in ("ignored", "400", "501", "unknown", "foreign")]
"""The ends that are any of health's business."""

NEVER_CHECKED = [ENDS[kind] for kind in ("short", "429", "529", "loading")]
"""What goes into the record of a check by the same door as of a call, or never comes of one."""


class Longest(random.Random):
    """Draws the most each time: every wait is as long as it can be."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Shortest(random.Random):
    """Draws the least each time: every wait is as short as it can be."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Patient:
    """One deployment's record, a clock turned by hand, and the words that move them."""

    def __init__(self, limits: Limits = ALONE, rng: random.Random | None = None) -> None:
        self.now = 1000.0
        self.limits = limits
        self.rng = Longest() if rng is None else rng
        self.health = Health(healthy_since=self.now)
        self.begun = self.now
        self.asked: float | None = None
        self.vetoed = False

    def live_through(self, scenario: str) -> None:
        """Read the words; a wrong one, or a state that is not as said, is an error."""
        for place, word in enumerate(scenario.split()):
            what, _, times = word.partition("*")
            for _ in range(int(times or 1)):
                said = self.say(what)
                assert said is None, f"word {place}, {word!r}: it is {said}, at {self.now:g} s"

    def say(self, word: str) -> object:
        """Do what *word* says; give what is, where it is not as said."""
        head, _, tail = word.partition(":")
        if word.startswith("+"):
            self.pass_time(float(word))
        elif word.startswith("="):
            seen = self.health.name(self.now)
            return None if seen == word[1:] else f"{seen} ({self.health.why(self.now)})"
        elif head == "ping":
            self.check(Evidence.PING, tail)
        elif head == "probe":
            self.check(Evidence.COMPLETION, tail)
        elif head in VIEWS:
            seen = VIEWS[head](self)
            return None if str(seen) == (tail or "True") else seen
        elif head in ACTS:
            ACTS[head](self)
        else:
            self.call(word)
        return None

    def pass_time(self, seconds: float) -> None:
        """Move the hands, and let what is due happen as the ledger's alarm would."""
        end = self.now + seconds
        while (at := self.health.next_change(self.now)) is not None and at <= end:
            assert at > self.now
            self.now = at
            self.health.tick(at)
        self.now = end
        self.health.tick(end)

    def call(self, word: str) -> None:
        """Book the end of a call that began just now."""
        health = self.health
        if health.disabled_until is not None and health.open_at(self.now) <= self.now:
            health.begin_try(self.now)
        if word == "ok":
            health.call_ok(self.now, self.now)
            return
        outcome = end(word)
        faulty = {
            "rate_limited": lambda: self.limited(outcome, self.now),
            "busy": lambda: health.busy(outcome, self.now, self.rng),
            "config": lambda: health.disable(outcome, self.now) and False,
            "ignored": health.short_timeout,
            "fault": lambda: True,
        }
        if faulty[str(outcome.verdict)]():
            health.call_fault(outcome, self.now, self.now, self.limits, self.rng)

    def limited(self, outcome: Outcome, started_at: float) -> bool:
        """Book a rate limit, which is no fault."""
        self.health.rate_limited(outcome, started_at, self.now, self.rng)
        return False

    def check(self, evidence: Evidence, kind: str) -> None:
        """Book the end of a check that began just now."""
        health = self.health
        if kind == "ok":
            health.check_ok(evidence, self.asked or self.now, self.now, self.limits)
        elif str(ENDS[kind].verdict) == "rate_limited":
            self.limited(ENDS[kind], self.asked or self.now)
        elif str(ENDS[kind].verdict) == "config":
            health.disable(ENDS[kind], self.now)
        else:
            self.vetoed = not health.check_fault(
                ENDS[kind], evidence, self.asked or self.now, self.now, self.limits, self.rng
            )
        self.asked = None


VIEWS = {
    "healthy": lambda it: it.health.healthy,
    "sick": lambda it: not it.health.healthy,
    "open": lambda it: it.health.open_at(it.now) <= it.now,
    "shut": lambda it: it.health.open_at(it.now) > it.now,
    "room": lambda it: it.health.allowance(it.now),
    "why": lambda it: str(it.health.why(it.now)).replace(" ", "_"),
    "vetoed": lambda it: it.vetoed,
    "row": lambda it: it.health.faults,
}

ACTS = {
    "begin": lambda it: setattr(it, "begun", it.now),
    "ask": lambda it: setattr(it, "asked", it.now),
    "end": lambda it: it.health.call_ok(it.begun, it.now),
    "acquit": lambda it: it.health.take_back(it.now),
    "pardon": lambda it: it.health.pardon(it.now),
}


def scenarios(**told: str) -> pytest.MarkDecorator:
    """Give one test for each scenario, named by the fact it shows."""
    cases = [pytest.param(text, id=name.replace("_", " ")) for name, text in told.items()]
    return pytest.mark.parametrize("scenario", cases)


@scenarios(
    unknown_is_healthy="=healthy healthy open why:None",
    three_faults_in_a_row_trip="500*2 =healthy 500 =unhealthy sick shut why:broke",
    every_kind_of_fault_counts="500 hang refused =unhealthy",
    a_success_ends_the_row="500*2 ok row:0 500*2 =healthy 500 =unhealthy",
    past_good_answers_never_outvote="ok*10000 hang*3 =unhealthy",
    answers_asked_for_before_the_fault_end_no_row="begin +1 500*2 end row:2 500 =unhealthy",
    those_asked_for_after_it_do="500*2 begin +1 end row:0",
    half_of_ten_within_two_minutes_trip="500*2 ok*2 500*2 ok*3 =healthy 500 =unhealthy",
    half_of_nine_do_not="ok*2 500*2 ok 500*2 ok 500 =healthy",
    less_than_half_do_not="500 ok*2 500 ok*2 500 ok*2 500 ok*2 500 ok*2 500 =healthy",
    faults_older_than_two_minutes_are_forgotten="500*2 ok 500*2 ok +125 500 ok 500 ok 500*2 "
    "=healthy 500 =unhealthy",
    our_own_descriptors_are_nobodys_fault="fds*20 ping:fds*20 =healthy row:0",
    three_unfair_time_outs_are_one_fault="short*2 row:0 short row:1 short*5 row:2 short =unhealthy",
    a_success_forgives_unfair_time_outs="short*2 ok short*2 ok short*2 row:0",
    a_fault_taken_back_does_not_count="500*2 acquit row:1 500 =healthy 500 =unhealthy",
    faults_taken_back_leave_the_two_minutes="ok 500*2 acquit*2 ok*2 500*2 acquit*2 ok*3 500 ok "
    "500 ok =healthy",
    taking_back_does_not_lift_a_sentence="500*3 acquit*3 row:0 =unhealthy",
    taking_back_what_is_long_gone_does_nothing="acquit row:0 500 ok +200 acquit =healthy",
)
def test_trip_rule(scenario: str) -> None:
    """Out after three in a row, or when half of at least ten in two minutes were faults."""
    Patient().live_through(scenario)


@scenarios(
    five_seconds_at_first="500*3 +4.9 =unhealthy shut +0.1 =recovering open sick",
    doubles_with_each_trip="500*3 +5 500 =unhealthy +9.9 =unhealthy +0.1 =recovering "
    "500 +19.9 =unhealthy +0.1 =recovering",
    at_most_two_minutes="500*3 +5 500 +10 500 +20 500 +40 500 +80 500 +119.9 =unhealthy +0.1 "
    "=recovering 500 +120 =recovering",
    a_healthy_minute_takes_one_back="500*3 +5 500 +10 500 +20 ok*32 =healthy +125 500*3 +9.9 "
    "=unhealthy +0.1 =recovering",
    less_than_a_minute_takes_none_back="500*3 +5 ok*32 =healthy +59 500*3 +9.9 =unhealthy",
    an_hour_takes_all_back="500*3 +5 ok*32 +3600 500*3 +5 =recovering",
    time_alone_makes_nothing_healthy="500*3 +3600 =recovering sick",
    faults_inside_do_not_lengthen_it="500*3 +2 500*5 +3 =recovering",
    a_success_inside_ends_it="500*3 ok =recovering healthy room:2",
)
def test_sentence(scenario: str) -> None:
    """Five seconds, doubling to two minutes; the exponent goes down by one a healthy minute."""
    Patient().live_through(scenario)


def test_sentences_are_spread_over_their_upper_half() -> None:
    """Equal jitter: never under half the length, so that a crowd does not come back as one."""
    Patient(rng=Shortest()).live_through(
        "500*3 +2.4 =unhealthy +0.1 =recovering 500 +5 =recovering"
    )


@scenarios(
    one_then_two_then_four_then_all="500*3 +5 room:1 sick ok healthy room:2 ok room:4 ok room:8 "
    "ok room:16 ok room:32 ok*26 =recovering room:32 ok =healthy",
    one_fault_sends_it_back="500*3 +5 ok*20 refused =unhealthy sick shut room:1",
    a_failed_check_sends_it_back="500*3 +5 ping:500 =unhealthy",
    nobodys_fault_leaves_the_trial_free="500*3 +5 short fds =recovering room:1",
    a_rate_limit_is_no_failed_trial="500*3 +5 429:7 =cooling sick shut +7 =recovering room:1 ok "
    "=recovering room:2",
    full_means_full="500*3 +5 ok*32 =healthy healthy why:None room:1073741824",
)
def test_way_back(scenario: str) -> None:
    """One trial at a time, then two, four, eight for each success; full after thirty-two."""
    Patient().live_through(scenario)


@scenarios(
    first_failed_check_decides_alone="ping:500 =unhealthy",
    unless_traffic_has_succeeded="ok +1 ping:500*2 =healthy ping:500 =unhealthy",
    later_ones_need_the_threshold="ping:ok ping:500*2 =healthy ping:500 =unhealthy",
    a_good_check_ends_the_row_of_checks="ping:ok ping:500*2 ping:ok ping:500*2 =healthy",
    calls_and_checks_have_rows_of_their_own="ping:ok 500*2 ping:500*2 =healthy",
    a_newer_success_vetoes="ping:ok ask ok ping:500 vetoed:True ask ok ping:500 ask ok ping:500 "
    "=healthy",
    an_older_success_does_not="ping:ok ok +1 ping:500 vetoed:False ping:500*2 =unhealthy",
    a_success_ends_the_row_of_checks="ping:ok +1 ping:500*2 ok +1 ping:500*2 =healthy",
    a_ping_ends_no_row_of_live_faults="500*2 ping:ok*5 row:2 500 =unhealthy",
    a_first_check_on_our_own_descriptors_decides_nothing="ping:fds =healthy ping:500 =unhealthy",
)
def test_checks(scenario: str) -> None:
    """Checks and calls keep separate rows, and newer traffic outranks a failed check."""
    Patient(PINGED).live_through(scenario)


@scenarios(
    two_good_pings_let_back_a_server_that_was_refused="refused*3 ping:ok =unhealthy ping:ok "
    "=recovering healthy room:1",
    and_one_that_failed_its_pings="ping:500 ping:ok*2 =recovering healthy",
    and_one_whose_name_was_not_found="dns*3 ping:ok*2 =recovering healthy",
    one_suffices_after_the_sentence="refused*3 +5 =unhealthy ping:ok =recovering sick ping:ok "
    "healthy",
    good_pings_do_not_shorten_for_server_faults="500*3 ping:ok*9 =unhealthy sick +5 =recovering "
    "ping:ok*9 sick",
    nor_for_a_row_that_was_mixed="refused*2 hang ping:ok*9 =unhealthy",
    nor_for_two_minutes_that_were_mixed="500 ok 500 ok refused ok refused ok refused ok =healthy "
    "refused =unhealthy ping:ok*2 =unhealthy",
    but_for_two_minutes_of_refusals="refused ok refused ok refused ok refused ok refused ok "
    "refused =unhealthy ping:ok*2 =recovering",
    a_fault_taken_back_leaves_no_trace="500 acquit refused*3 =unhealthy ping:ok*2 =recovering",
    nor_after_a_failed_trial="refused*3 ping:ok*2 =recovering 500 =unhealthy ping:ok*9 =unhealthy",
    nor_after_a_failed_trial_that_was_refused="refused*3 ping:ok*2 =recovering refused ping:ok*9 "
    "=unhealthy",
    nor_after_a_server_fault_in_the_sentence="refused*3 500 ping:ok*9 =unhealthy",
    but_a_refusal_in_the_sentence_is_no_news="refused*3 refused ping:ok*2 =recovering",
    health_forgets_the_failed_trial="refused*3 ping:ok*2 500 +10 ok*32 =healthy refused*3 "
    "ping:ok*2 =recovering",
    pings_alone_never_let_back_full_traffic="refused*3 ping:ok*99 =recovering room:1",
    a_server_whose_page_answers_and_completions_hang="hang*3 +5 ping:ok*3 hang =unhealthy "
    "+5 ping:ok*3 +5 ping:ok*3 hang =unhealthy room:1 sick",
)
def test_pings_as_evidence(scenario: str) -> None:
    """A ping clears only what it could have found."""
    Patient(PINGED).live_through(scenario)


@scenarios(
    the_sentence_waits_for_a_ping="refused*3 +5 =unhealthy shut +14.9 =unhealthy +0.1 =recovering",
    as_long_as_it_is_refused="refused*3 +5 ping:refused +14 ping:refused +14 ping:refused "
    "=unhealthy shut +15 =recovering",
    not_for_a_page_that_fails="refused*3 +5 ping:500 +5 ping:500 +9.9 =unhealthy +0.1 =recovering",
    not_for_what_a_ping_cannot_find="500*3 +5 =recovering",
    not_after_a_failed_trial="refused*3 ping:ok*2 refused +10 =recovering",
    a_failed_ping_within_the_sentence_adds_nothing="refused*3 +2 ping:refused +18 =recovering",
)
def test_checker_is_the_trial(scenario: str) -> None:
    """While a running checker can find out, no user's call is spent on it."""
    Patient(PINGED).live_through(scenario)


@scenarios(
    two_good_probes_end_the_sentence="500*3 probe:ok =unhealthy probe:ok =recovering healthy "
    "room:2",
    one_is_the_trial_once_it_is_over="500*3 +5 =unhealthy probe:ok =recovering healthy room:2",
    each_counts_as_a_trial="500*3 probe:ok*33 =healthy",
    the_sentence_waits_for_a_probe="hang*3 +19.9 =unhealthy +0.1 =recovering",
    a_failed_probe_is_a_failed_trial="500*3 +5 probe:500 =unhealthy +24.9 =unhealthy +0.1 "
    "=recovering probe:500 =unhealthy +34.9 =unhealthy +0.1 =recovering",
    one_that_fails_within_the_sentence_changes_nothing="500*3 +4 probe:500 +16 =recovering",
    probes_clear_what_pings_cannot="refused*3 ping:ok*2 500 ping:ok*9 =unhealthy probe:ok*2 "
    "=recovering healthy",
    first_failed_probe_decides_alone="probe:500 =unhealthy",
    a_good_probe_is_a_completion="429:60 =cooling +1 probe:ok =healthy open",
    recovers_with_no_traffic_at_all="probe:500 +5 probe:ok*33 =healthy",
)
def test_probes_as_evidence(scenario: str) -> None:
    """A check that sends a completion may itself be the trial."""
    Patient(PROBED).live_through(scenario)


@scenarios(
    the_servers_delay="429:7 =cooling healthy shut why:slow_down +6.9 =cooling +0.1 =healthy open",
    one_second_at_first="429 +0.9 =cooling +0.1 =healthy",
    doubles="429 +1 429 +1.9 =cooling +0.1 =healthy 429 +3.9 =cooling +0.1 =healthy",
    to_a_minute="429 +1 429 +2 429 +4 429 +8 429 +16 429 +32 429 +59.9 =cooling +0.1 =healthy 429 "
    "+60 =healthy",
    a_success_begins_anew="429 +1 429 +2 ok 429 +1 =healthy",
    calls_refused_together_are_one_refusal="429*50 +1 =healthy",
    a_probe_that_is_refused_is_one_more="429 +0.5 probe:429 +1.9 =cooling probe:429 +3.9 =cooling "
    "+0.1 =healthy 429 +7.9 =cooling +0.1 =healthy",
    unless_it_began_before="ask +0.1 429 +0.1 probe:429 +0.9 =healthy",
    a_good_probe_ends_what_a_probe_has_lengthened="429 +0.5 probe:429 +0.5 probe:ok =healthy open",
    never_a_fault="429:1*99 +2 =healthy row:0",
    at_least_a_tenth_of_a_second="429:0.001 +0.09 =cooling +0.01 =healthy",
    at_most_an_hour="429:86400 +3599 =cooling +1 =healthy",
    a_shorter_one_never_shortens="429:60 429:5 +59.9 =cooling +0.1 =healthy",
    a_longer_one_lengthens="429:5 +1 429:60 +59.9 =cooling +0.1 =healthy",
    an_earlier_completion_does_not_clear="begin +1 429:60 +1 end =cooling",
    nor_one_of_the_same_moment="begin 429:60 end =cooling",
    a_later_one_does="429:60 +1 begin +1 end =healthy open",
    a_ping_never_does="429:60 +1 ping:ok*9 =cooling",
    one_call_goes_first="429:5 +5 =healthy room:1 ok room:1073741824",
    for_a_second_at_most="429:5 +5.9 room:1 +0.1 room:1073741824",
    an_earlier_completion_does_not_open_the_gate="begin 429:5 +5 end room:1",
    unhealthy_shows_before_cooling="500*3 429:60 =unhealthy why:broke +5 =cooling shut +55 "
    "=recovering open",
    a_fault_in_a_cool_down_counts="429:60 500*3 =unhealthy +59 shut",
)
def test_rate_limits(scenario: str) -> None:
    """The server's delay, else a second doubling to a minute; merged by max; health untouched."""
    Patient().live_through(scenario)


@scenarios(
    the_servers_delay="529:7 =cooling healthy why:overloaded +7 =healthy",
    a_second_doubling_to_half_a_minute="529 +1 =healthy 529 +2 =healthy 529 +4 529 +8 529 +16 "
    "529 +29.9 =cooling +0.1 =healthy 529 +30 =healthy",
    calls_refused_together_are_one_refusal="529*50 +1 =healthy",
    no_fault_for_a_minute="ok 529:1 +59 529:1 row:0",
    then_it_is_one="529:1 +60 529:1 row:1 +30 529:1 row:2 +30 529:1 =unhealthy",
    a_success_begins_anew="529:1 +50 ok +50 529:1 +50 529:1 row:0 +10 529:1 row:1",
    a_success_from_before_counts_too="begin +1 529:1 +50 end +50 529:1 +59 529:1 row:0 +1 529:1 row:1",
    loading_is_two_to_five_seconds="loading +4.9 =cooling +0.1 =healthy",
    loading_is_never_a_fault="loading +60 loading +60 loading +60 loading +5 row:0 =healthy",
    loading_ends_the_patience="529:1 +50 loading +50 529:1 row:0",
)
def test_rushes(scenario: str) -> None:
    """Busy is not absent; but nothing but busy for a minute is a fault."""
    Patient().live_through(scenario)


def test_shortest_delays() -> None:
    """With full jitter a cool-down may be as short as the least there is; loading takes two seconds."""
    Patient(rng=Shortest()).live_through(
        "429 +0.1 =healthy 529 +0.1 =healthy loading +1.9 =cooling +0.1 =healthy"
    )


@scenarios(
    a_wrong_key="401 =disabled sick shut why:wrong_key +59 shut +1 open room:1 =disabled sick",
    twice_as_long_each_time="401 +60 401 +119 shut +1 open 401 +240 open",
    to_an_hour="401 +60 401 +120 401 +240 401 +480 401 +960 401 +1920 401 +3599 shut +1 open 401 "
    "+3599 shut +1 open",
    once_per_period="401 +10 401*9 +50 open 401 +119 shut +1 open",
    a_success_enables="401 +60 ok =healthy healthy open 401 +59 shut +1 open",
    one_good_ping_enables_for_a_key="401 +1 ping:ok =healthy",
    but_not_for_money="quota +1 ping:ok*9 =disabled shut",
    a_good_probe_enables_for_money="quota +1 probe:ok =healthy",
    a_ping_that_was_wrong_is_not_believed_again="401 +60 ping:ok =healthy 401 +119 shut ping:ok*9 "
    "=disabled +1 open",
    until_a_completion_has_gone_well="401 ping:ok 401 +120 ok 401 ping:ok =healthy",
    a_fault_in_the_try_uses_it_up="401 +60 500 =disabled shut +59 shut +1 open",
    a_rate_limit_too="401 +60 429:1 +59 shut +1 open",
    and_a_rush="quota +60 529:1 +59 shut +1 open",
    a_failed_probe_too="quota +60 probe:500 +59 shut +1 open",
    a_failed_ping_for_a_key="401 +60 ping:500 +59 shut +1 open",
    a_failed_ping_uses_up_no_try_for_money="quota +60 ping:500*9 open",
    a_check_within_the_period_does_not_lengthen_it="401 +59 ping:500*9 probe:500 ping:401 +1 open",
    whatever_comes_of_the_try_uses_it_up="401 +60 short shut +59 shut +1 open room:1",
    a_sentence_goes_on_underneath="500*3 +5 500 401 +1 ping:ok =unhealthy sick shut +9 =recovering",
    a_trial_that_finds_a_wrong_key="500*3 +5 401 =disabled +60 ok =recovering healthy room:2",
    and_a_cool_down_too="429:90 401 +60 shut +30 open",
    faults_before_are_still_in_the_row="500*2 401 +1 ping:ok 500 =unhealthy",
)
def test_disabled(scenario: str) -> None:
    """A minute doubling to an hour, one try each period, by what can find out."""
    Patient(PINGED).live_through(scenario)


@scenarios(
    sentences_for_our_network_are_taken_back="dns*3 =unhealthy pardon =healthy row:0 healthy",
    they_do_not_make_the_next_one_longer="dns*3 pardon dns*3 pardon 500*3 +20 =recovering",
    the_row_begins_anew="500*2 pardon 500*2 =healthy",
    older_sentences_stand="500*3 pardon =unhealthy",
    even_where_the_network_failed_too="500*3 dns*3 pardon =unhealthy",
    who_was_on_the_way_back_still_is="500*3 +5 ok*3 room:8 dns =unhealthy pardon =recovering "
    "room:8 healthy",
    failed_checks_too="ping:dns =unhealthy ping:dns pardon =healthy",
    a_probe_in_a_sentence_for_the_network="probe:dns =unhealthy +5 probe:dns pardon =healthy",
    not_what_a_probe_found_in_it="probe:dns +5 probe:500 pardon =unhealthy",
    a_sentence_served_is_none_to_lift="dns*3 +20 =recovering pardon =recovering",
)
def test_pardon(scenario: str) -> None:
    """What rested on our own network is taken back, and nothing else."""
    Patient(PROBED).live_through(scenario)


def test_faults_count_as_load_for_thirty_seconds() -> None:
    """A deployment that fails fast does not look idle; each fault weighs until it is 30 s old."""
    patient = Patient()

    patient.live_through("500 +10 500")
    assert len(patient.health.penalties) == 2
    patient.live_through("+19.9")
    assert len(patient.health.penalties) == 2
    patient.live_through("+0.1")
    assert len(patient.health.penalties) == 1
    patient.live_through("fds acquit")
    assert len(patient.health.penalties) == 0


@pytest.mark.parametrize("proof", ["+5 ok", "+5 probe:ok", "probe:ok*2"])
def test_what_works_again_has_no_faults_to_bear(proof: str) -> None:
    """Once a completion went well after a sentence, faults from before it keep no calls away."""
    patient = Patient(PROBED)

    patient.live_through(f"500*3 =unhealthy {proof} =recovering")

    assert len(patient.health.penalties) == 0


def test_flapping_deployment() -> None:
    """Failing every other call, it has under a tenth of a fair share from the fifth minute on."""
    patient = Patient(rng=random.Random(1))
    asked = late = 0
    for second in range(600):
        patient.pass_time(1.0)
        health = patient.health
        if health.open_at(patient.now) <= patient.now:
            patient.say("500" if asked % 2 else "ok")
            asked += 1
            late += second >= 300

    assert late < 30, "of 300 calls that went elsewhere meanwhile"


def test_news_of_disabling() -> None:
    """Disabling is news the first time only, so it is told once."""
    health = Health()

    assert health.disable(ENDS["401"], 1000.0)
    assert not health.disable(ENDS["401"], 1060.0)


@pytest.mark.parametrize("limits", [ALONE, PINGED, PROBED], ids=["alone", "pinged", "probed"])
@given(st.data())
def test_any_history(limits: Limits, data: st.DataObject) -> None:
    """Whatever happens, the record stays sane: time moves on, and the numbers stay in bounds."""
    checks = [f"{check}:{kind}" for check in ("ping", "probe") for kind in KINDS]
    checks = [word for word in checks if ENDS.get(word.split(":")[1]) not in NEVER_CHECKED]
    waits = ["+0.05", "+1", "+7", "+61", "+400"]
    words = [*KINDS, "429:9", "529:9", "begin", "end", "acquit", "pardon", *checks, *waits * 3]
    patient = Patient(limits, random.Random(1))
    generation = 0

    for word in data.draw(st.lists(st.sampled_from(words), max_size=60)):
        patient.say(word)
        health, now = patient.health, patient.now
        upcoming = health.next_change(now)
        assert upcoming is None or upcoming > now
        assert health.open_at(now) <= now + 3600.0
        assert 1 <= health.allowance(now) <= UNMEASURED
        assert health.faults >= 0
        assert all(0 <= bucket[3] <= bucket[2] <= bucket[1] for bucket in health.tally.buckets)
        assert health.generation >= generation
        assert not (health.healthy and health.name(now) in ("disabled", "unhealthy"))
        assert (health.why(now) is None) == (health.name(now) == "healthy")
        generation = health.generation


def test_a_fault_taken_back_from_an_older_count() -> None:
    """Those that a ping finds are no such faults, and stand between."""
    tally = Tally()
    tally.add_fault(0.0, deep=True)
    tally.add_fault(15.0, deep=False)
    tally.take_back()
    assert tally.totals(20.0) == (1, 1, 0)
    tally.take_back()  # there is none
    assert tally.totals(20.0) == (1, 1, 0)
