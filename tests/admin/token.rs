//! The admin token, replaced while the sidecar runs.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::world::{Answer, World};

/// Calls with `token` until `is_over`; every status in turn.
async fn keep_calling(
    world: Arc<World>,
    token: &'static str,
    over: Arc<tokio::sync::Notify>,
) -> Vec<u16> {
    let ending = over.notified();
    tokio::pin!(ending);
    let mut statuses = Vec::new();
    loop {
        let call = world.bare("GET", "/v1/connections").bearer_auth(token);
        tokio::select! {
            () = &mut ending => return statuses,
            answer = Answer::read(call) => statuses.push(answer.status.as_u16()),
        }
        // Others have their turn.
        sleep(Duration::from_millis(2)).await;
    }
}

/// Whether there are some of `first`, then some of `second`, and nothing else.
fn turns(statuses: &[u16], first: u16, second: u16) -> bool {
    let turn = statuses.iter().position(|status| *status == second);
    turn.is_some_and(|turn| {
        let (before, after) = statuses.split_at(turn);
        !before.is_empty()
            && before.iter().all(|status| *status == first)
            && after.iter().all(|status| *status == second)
    })
}

#[tokio::test]
async fn a_token_file_that_changes_counts_without_a_restart_while_requests_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "the-old-token\n").unwrap();
    let setting = [("admin.token_file", file.to_str().unwrap())];
    let world = Arc::new(World::with(&setting).await);
    let over = Arc::new(tokio::sync::Notify::new());
    let calling = |token| {
        let calling = keep_calling(Arc::clone(&world), token, Arc::clone(&over));
        tokio::spawn(calling)
    };
    let (old, new) = (calling("the-old-token"), calling("the-new-token"));
    sleep(Duration::from_millis(100)).await;
    // As Kubernetes does: the whole file at once.
    let next = folder.path().join("next");
    std::fs::write(&next, "the-new-token\n").unwrap();
    std::fs::rename(&next, &file).unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let call = world
            .bare("GET", "/v1/connections")
            .bearer_auth("the-new-token");
        if Answer::read(call).await.status == 200 {
            break;
        }
        assert!(Instant::now() < deadline, "the new token never counts");
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_millis(100)).await;
    over.notify_waiters();
    let (old, new) = (old.await.unwrap(), new.await.unwrap());
    assert!(turns(&old, 200, 401), "{old:?}");
    assert!(turns(&new, 401, 200), "{new:?}");
}
