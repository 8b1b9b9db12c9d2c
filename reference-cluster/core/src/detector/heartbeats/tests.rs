use shakedown_contracts::event::Event;

use super::*;

const PORTRAIT: SelfPortrait = SelfPortrait {
    primary: false,
    epoch: 1,
    position: 0,
};

fn at(millis: u64) -> Moment {
    Moment(1_000_000_000).after(Duration::from_millis(millis))
}

fn watch(ack: bool) -> Heartbeats {
    let options = Options::FixedTimeout {
        heartbeat_interval: Duration::from_millis(50),
        timeout: Duration::from_millis(400),
        ack,
    };
    let mut watch = Heartbeats::new(&options, &Group::of_size(2)).unwrap();
    watch.start(at(0));
    watch
}

fn hear(watch: &mut Heartbeats, millis: u64, ack: bool) {
    let heartbeat = Heartbeat {
        ack,
        primary: false,
        incarnation: at(0).0,
        sequence: 1,
        epoch: 0,
        position: 0,
        progress: 0,
    };
    watch.receive(at(millis), (Peer(1), &heartbeat), PORTRAIT, &mut Vec::new());
}

#[test]
fn heartbeats_keep_their_schedule_however_late_the_timer_is() {
    let mut watch = watch(true);
    let mut due = Vec::new();
    for millis in [0, 57, 100, 163, 420] {
        let mut out = Vec::new();
        watch.beat(at(millis), PORTRAIT, &mut out);
        due.extend(out.into_iter().filter_map(|output| match output {
            Output::SetTimer { at: due, .. } => Some(due),
            _ => None,
        }));
    }
    assert_eq!(due, [at(50), at(100), at(150), at(200), at(450)]);
}

#[test]
fn a_sequence_is_the_point_of_the_schedule_that_its_heartbeat_stands_for() {
    let mut watch = watch(true);
    let mut sequences = Vec::new();
    // Due at 0, 50, 100 … ms; from 200 to 350 ms were slept through.
    for millis in [0, 57, 100, 163, 420, 450] {
        let mut out = Vec::new();
        watch.beat(at(millis), PORTRAIT, &mut out);
        sequences.extend(out.into_iter().filter_map(|output| match output {
            Output::SendHeartbeat { heartbeat, .. } => Some(heartbeat.sequence),
            _ => None,
        }));
    }
    assert_eq!(sequences, [1, 2, 3, 4, 9, 10]);
}

#[test]
fn only_the_configured_evidence_counts() {
    for (configured, heard, suspected) in [
        (true, true, false),
        (true, false, true),
        (false, false, false),
        (false, true, true),
    ] {
        let mut watch = watch(configured);
        hear(&mut watch, 0, configured);
        hear(&mut watch, 300, heard);
        watch.judge(at(450), &mut Vec::new());
        assert_eq!(
            !watch.suspected().is_empty(),
            suspected,
            "{configured} {heard}"
        );
    }
}

#[test]
fn a_peer_that_was_never_heard_gets_ten_timeouts() {
    let mut watch = watch(true);
    assert!(!watch.judge(at(3_999), &mut Vec::new()));
    assert!(watch.judge(at(4_000), &mut Vec::new()));
    hear(&mut watch, 4_100, true);
    let mut out = Vec::new();
    assert!(watch.judge(at(4_100), &mut out));
    assert!(out.contains(&Output::Note {
        event: Event::Trust {
            subject: "n2".into()
        }
    }));
}

#[test]
fn silence_that_was_slept_through_is_no_evidence_against_a_peer() {
    let mut watch = watch(true);
    watch.beat(at(0), PORTRAIT, &mut Vec::new());
    hear(&mut watch, 1, true);
    // Stopped at 40 ms, continued at 10 s.
    assert!(watch.notice_own_pause(at(10_000)).is_some());
    watch.beat(at(10_000), PORTRAIT, &mut Vec::new());
    assert!(!watch.judge(at(10_000), &mut Vec::new()));
    // A peer that then stays silent is suspected all the same.
    for millis in (10_050..10_400).step_by(50) {
        assert!(watch.notice_own_pause(at(millis)).is_none());
        watch.beat(at(millis), PORTRAIT, &mut Vec::new());
    }
    assert!(watch.judge(at(10_400), &mut Vec::new()));
}

#[test]
fn without_the_own_pause_rule_the_same_silence_would_be_held_against_the_peer() {
    let mut watch = watch(true);
    hear(&mut watch, 1, true);
    assert!(watch.judge(at(10_000), &mut Vec::new()));
}
