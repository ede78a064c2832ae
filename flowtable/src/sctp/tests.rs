//! Tests of the association's states and tags.

use super::*;
use Direction::{Original, Reply};

/// Tags: the responder's, carried by the originator, and the other way round.
const TO_RESPONDER: u32 = 0xaaaa;
const TO_ORIGINATOR: u32 = 0xbbbb;

fn run(packets: &[(Direction, u32, u8, SctpState)]) -> (SctpState, Memory) {
    let (mut state, mut memory) = (SctpState::CookieWait, Memory::default());
    for &(direction, tag, chunk, expected) in packets {
        let Step::Admit(next, _) = step(state, &mut memory, direction, tag, chunk) else {
            panic!("{chunk} reopened in {state:?}")
        };
        assert_eq!(next, expected, "chunk {chunk} in {state:?}");
        state = next;
    }
    (state, memory)
}

const HANDSHAKE: [(Direction, u32, u8, SctpState); 5] = [
    (Original, 0, chunk::INIT, SctpState::CookieWait),
    (Reply, TO_ORIGINATOR, chunk::INIT_ACK, SctpState::CookieWait),
    (Original, TO_RESPONDER, chunk::COOKIE_ECHO, SctpState::CookieEchoed),
    (Reply, TO_ORIGINATOR, chunk::COOKIE_ACK, SctpState::Established),
    (Original, TO_RESPONDER, 0, SctpState::Established),
];

#[test]
fn an_association_lives_and_shuts_down() {
    let (state, mut memory) = run(&HANDSHAKE);
    let (next, _) = run(&[
        &HANDSHAKE[..],
        &[
            (Reply, TO_ORIGINATOR, chunk::SHUTDOWN, SctpState::ShutdownReceived),
            (Reply, TO_ORIGINATOR, chunk::SHUTDOWN, SctpState::ShutdownReceived),
            (Original, TO_RESPONDER, chunk::SHUTDOWN_ACK, SctpState::ShutdownAckSent),
            (Reply, TO_ORIGINATOR, chunk::SHUTDOWN_COMPLETE, SctpState::Closed),
        ],
    ]
    .concat());
    assert_eq!(step(next, &mut memory, Original, 0, chunk::INIT), Step::Reopen);
    assert_eq!(
        step(state, &mut memory, Original, TO_RESPONDER, 0),
        Step::Admit(SctpState::Established, Assurance::Assured)
    );
}

#[test]
fn only_the_associations_tags_are_let_through() {
    const DATA: u8 = 0;
    let (state, mut memory) = run(&HANDSHAKE);
    let before = memory;
    for (direction, tag, chunk) in [
        (Original, 1, chunk::ABORT),
        (Reply, 0, chunk::ABORT),
        (Original, 1, chunk::SHUTDOWN_COMPLETE),
        (Original, TO_ORIGINATOR, DATA),
        (Reply, TO_RESPONDER, DATA),
        (Reply, 0, DATA),
        (Original, TO_RESPONDER, chunk::INIT),
        (Reply, 7, chunk::INIT_ACK),
        (Original, 7, chunk::COOKIE_ECHO),
        (Reply, 7, chunk::SHUTDOWN),
    ] {
        assert_eq!(step(state, &mut memory, direction, tag, chunk), Step::Refuse, "{chunk} {tag}");
        assert_eq!(memory, before);
    }
    // The T bit: the sender has nothing but the tag that it was sent.
    for tag in [TO_ORIGINATOR, TO_RESPONDER] {
        let closed = Step::Admit(SctpState::Closed, Assurance::Tentative);
        assert_eq!(step(state, &mut memory.clone(), Reply, tag, chunk::ABORT), closed);
    }
}

#[test]
fn a_restart_brings_new_tags() {
    let established = SctpState::Established;
    let (state, mut memory) = run(&[
        &HANDSHAKE[..],
        &[
            (Original, 0, chunk::INIT, established),
            (Reply, 0xdddd, chunk::INIT_ACK, established),
            (Original, TO_RESPONDER, 0, established),
            (Original, 0xcccc, chunk::COOKIE_ECHO, established),
            (Reply, 0xdddd, chunk::COOKIE_ACK, established),
            (Original, 0xcccc, 0, established),
            (Reply, 0xdddd, 0, established),
            // On its way since before.
            (Original, TO_RESPONDER, 0, established),
        ],
    ]
    .concat());
    assert_eq!(step(state, &mut memory, Reply, TO_ORIGINATOR, chunk::ABORT), Step::Refuse);
    assert_eq!(step(state, &mut memory, Original, 0xbad, 0), Step::Refuse);
}

#[test]
fn a_packet_that_was_admitted_is_admitted_again() {
    let (mut state, mut memory) = (SctpState::CookieWait, Memory::default());
    let restart = [
        (Original, 0, chunk::INIT),
        (Reply, 9, chunk::INIT_ACK),
        (Original, 8, chunk::COOKIE_ECHO),
        (Reply, 9, chunk::COOKIE_ACK),
        (Reply, 9, chunk::SHUTDOWN),
        (Original, 8, chunk::SHUTDOWN_ACK),
        (Reply, 9, chunk::SHUTDOWN_COMPLETE),
    ];
    let handshake = HANDSHAKE.map(|(direction, tag, chunk, _)| (direction, tag, chunk));
    for (direction, tag, chunk) in handshake.into_iter().chain(restart) {
        let mut after = None;
        for _ in 0..2 {
            let Step::Admit(next, _) = step(state, &mut memory, direction, tag, chunk) else {
                panic!("{chunk} in {state:?}")
            };
            state = next;
            assert_eq!(*after.get_or_insert((next, memory)), (next, memory));
        }
    }
    assert_eq!(state, SctpState::Closed);
}

#[test]
fn a_refused_init_closes_at_once() {
    let mut memory = Memory::default();
    let mut state = SctpState::CookieWait;
    // Twice: the refusal may pass two ports.
    for _ in 0..2 {
        let refused = step(state, &mut memory, Reply, 77, chunk::ABORT);
        assert_eq!(refused, Step::Admit(SctpState::Closed, Assurance::Tentative));
        state = SctpState::Closed;
    }
    assert_eq!(step(state, &mut memory, Reply, 78, chunk::ABORT), Step::Refuse);
}
