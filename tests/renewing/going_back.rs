//! A store that went back, because a failover lost what it had taken or a backup was restored: whoever connects
//! again gets a generation that was given out before, and keeps the grant all the same.

use daypass::{base::ids::ConnectionKey, store::Status, token::Error};
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::{
    scripted_provider::ScriptedProvider,
    world::{HOUR, Sidecar, World, secs, settle},
};

/// A user who has connected again at a store that has lost generation 2.
struct Again {
    world: World,
    key: ConnectionKey,
    sidecar: Sidecar,
    /// What asks for something newer than what was lost, and waits at the provider.
    renewing: JoinHandle<Result<String, Error>>,
}

impl Again {
    /// The renewal waits at `gate`; meanwhile the store goes back, `then` something happens, and the user
    /// connects again.
    async fn at(gate: impl Fn(&ScriptedProvider) -> &Semaphore, then: impl FnOnce(&World)) -> Self {
        let world = World::new();
        let key = world.connect("u1", secs(0)).await;
        let sidecar = world.sidecar(1).await;
        let replica = world.store.snapshot();
        assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
        ScriptedProvider::close(gate(&world.provider));
        let (caller, asked) = (sidecar.clone(), key.clone());
        let renewing = tokio::spawn(async move { caller.newer_than(&asked, 2).await });
        settle().await;
        world.store.fail_over(replica);
        then(&world);
        world.provider.accept("refresh-again");
        world.grant("u1", "again", Some(HOUR), true).await;
        let generation = world.stored(&key).await.generation.get();
        assert_eq!(generation, 2, "it is given out once more");
        ScriptedProvider::open(gate(&world.provider));
        Self {
            world,
            key,
            sidecar,
            renewing,
        }
    }

    /// The new grant is what everybody has.
    async fn stands(self) {
        assert_eq!(self.renewing.await.unwrap().unwrap(), "access-again");
        let stored = self.world.stored(&self.key).await;
        assert_eq!(stored.generation.get(), 2);
        assert_eq!(stored.status, Status::Active);
        for sidecar in [self.sidecar, self.world.sidecar(2).await] {
            assert_eq!(sidecar.bearer(&self.key).await.unwrap(), "access-again");
            assert_eq!(sidecar.tokens.health().spooled, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_were_minted_from_what_was_lost_do_not_take_its_place() {
    let again = Again::at(|provider| &provider.exit, |_| {}).await;
    again.stands().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_provider_refuses_of_what_was_lost_marks_nobody() {
    let again = Again::at(
        |provider| &provider.gate,
        |world| world.provider.revoke_everything(),
    );
    again.await.stands().await;
}

#[tokio::test(start_paused = true)]
async fn memory_takes_what_the_store_has_for_newer_than_what_was_lost() {
    let world = World::new();
    let key = world.connect("u1", secs(0)).await;
    let sidecar = world.sidecar(1).await;
    let replica = world.store.snapshot();
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-1");
    world.store.fail_over(replica);
    world.grant("u1", "again", Some(HOUR), true).await;
    assert_eq!(world.stored(&key).await.generation.get(), 2);
    settle().await;
    assert_eq!(sidecar.bearer(&key).await.unwrap(), "access-again");
    assert_eq!(world.provider.renewals(), 1, "it is good");
}
