//! `diagnose`: each planted fault is found by its code, and nothing else is.

use super::solo::*;
use super::*;
use crate::types::FindingCode;

fn codes(solo: &mut Solo) -> Vec<FindingCode> {
    let outputs = solo.command(PeerCommand::Diagnose);
    let [Job::Diagnose { token, findings }] = jobs(&outputs)[..] else { panic!("{outputs:?}") };
    assert!(replies(&outputs).is_empty(), "the answer waits for the worker");
    let (token, findings) = (*token, findings.clone());
    let outputs = solo.feed(Input::JobDone(JobDone::Diagnosed { token, findings: findings.clone() }));
    let told: Vec<_> = match &replies(&outputs)[..] {
        [Ok(CommandData::Diagnosis(diagnosis))] => diagnosis.findings.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(told, findings);
    assert!(told.iter().all(|finding| !finding.message.is_empty() && !finding.remedy.is_empty()), "{told:?}");
    told.into_iter().map(|finding| finding.code).collect()
}

#[test]
fn faults_of_peers_are_found_and_go_when_they_are_mended() {
    let mut solo = Solo::bare(|_| {});
    assert_eq!(codes(&mut solo), [FindingCode::NobodyFound]);
    solo.feed(Input::Sighting(sighting(1, 1)));
    assert_eq!(codes(&mut solo), [], "it has not been tried yet");
    let outputs = solo.pass(Duration::from_secs(1));
    let dials: Vec<DialId> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Dial { dial, .. } => Some(*dial),
            _ => None,
        })
        .collect();
    assert!(!dials.is_empty(), "{outputs:?}");
    for dial in dials {
        let reason = "timed out".to_owned();
        solo.feed(Input::DialFailed { dial, identity_mismatch: false, actual: None, reason });
    }
    assert_eq!(codes(&mut solo), [FindingCode::Unreachable]);
    solo.feed(Input::SightingGone { peer_id: peer(1) });
    solo.pass(Duration::from_secs(600));
    solo.feed(Input::Sighting(Sighting { proto_ver: 2, ..sighting(2, 1) }));
    assert_eq!(codes(&mut solo), [FindingCode::OtherVersion]);
}

#[test]
fn faults_of_this_pc_are_found() {
    let mut solo = Solo::bare(|_| {});
    solo.command(PeerCommand::Pause);
    solo.feed(Input::WatchDegraded { message: Some("no watches are left".to_owned()) });
    assert_eq!(codes(&mut solo), [FindingCode::NobodyFound, FindingCode::NoWatches, FindingCode::Paused]);
    solo.command(PeerCommand::Resume);
    solo.feed(Input::DirectoryGone { reason: "it was unmounted".to_owned() });
    assert_eq!(codes(&mut solo)[..2], [FindingCode::NobodyFound, FindingCode::GameDirectoryGone]);
}
