//! The process ends at each call that changes the volume: before it, in the middle of a write, after it. Or the call fails and
//! the process lives on.

use std::cell::Cell;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The process ends before the call has an effect.
    Before,
    /// The process ends after half of a write, or after the call.
    Within,
    /// The process ends after the call.
    After,
    /// The call has no effect, and the process goes on.
    Refused,
}

impl Fault {
    fn is_death(self) -> bool {
        self != Self::Refused
    }
}

/// Runs with a fault at the call `at`; gives whether the run was over before. Before each call, which is after the one before
/// it, somebody looks.
fn disturbed(path: &Path, run: &Marked, fault: Fault, at: usize) -> bool {
    let was_readable = read(path).is_some();
    let calls = Cell::new(0);
    let disk = Disturbed(|_: &Call<'_>| {
        assert!(read(path).is_some() || !was_readable, "what was there is gone");
        let call = calls.replace(calls.get() + 1);
        match fault {
            Fault::Before if call >= at => Verdict::Refuse,
            Fault::Within if call == at => Verdict::DoHalf,
            Fault::After if call == at => Verdict::DoAndRefuse,
            Fault::Refused if call == at => Verdict::Refuse,
            Fault::Within | Fault::After if call > at => Verdict::Refuse,
            _ => Verdict::Do,
        }
    });
    let volume = Volume::open_on(disk, path, Some(Owner::of_process())).unwrap();
    let ended = run.run(&volume);
    drop(volume);
    let was_over = calls.get() <= at;
    assert_eq!(ended.is_ok(), was_over, "{ended:?}");
    was_over
}

#[test]
fn ended_at_any_call_the_next_run_ends_in_the_same_state() {
    let run = Marked::new("new");
    let mut crashes = 0;
    for before in BEFORE {
        let wanted = undisturbed(before, &run);
        for fault in [Fault::Before, Fault::Within, Fault::After, Fault::Refused] {
            for at in 0.. {
                let volume = volume_with(before);
                if disturbed(volume.path(), &run, fault, at) {
                    break;
                }
                crashes += 1;
                let key = read(volume.path());
                let allowed = [before.last().map(|mark| format!("key {mark}\n")), Some("key new\n".to_owned())];
                assert!(allowed.contains(&key), "{key:?}");
                let is_temporary = |name: &String| name.starts_with(TEMPORARY_PREFIX);
                assert!(fault.is_death() || !names(volume.path()).iter().any(is_temporary), "it has not cleaned up");
                recovers(volume.path(), &run, &wanted);
            }
        }
    }
    assert!(crashes > 400, "only {crashes}: are all calls still seen?");
}

/// A run that is ended while it puts in order what another one, ended too, has left.
#[test]
fn ended_twice_it_is_the_same() {
    let run = Marked::new("new");
    let wanted = undisturbed(&["one"], &run);
    for first in (0..).step_by(3) {
        for second in (0..).step_by(3) {
            let volume = volume_with(&["one"]);
            if disturbed(volume.path(), &run, Fault::After, first) {
                assert!(first > 30, "only {first} calls");
                return;
            }
            if disturbed(volume.path(), &run, Fault::Before, second) {
                break;
            }
            recovers(volume.path(), &run, &wanted);
        }
    }
}
