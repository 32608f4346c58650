//! What a flight does with new tokens: commit them, fenced, or spool them; then they may be used.
//!
//! Tokens that nobody will use, since their connection is gone or another account's now, are revoked.

use std::pin::pin;

use tokio::time::timeout;

use super::{PROMPT, Renewal, STORE_REST, account_of};
use crate::{
    base::ids::GrantId,
    provider::Minted,
    store::{self, Committed, Connection, Fence, Redemption, Renewed},
    token::{
        entry::{News, Outcome},
        spool::Spooled,
    },
};

impl Renewal<'_> {
    /// Stores new tokens, or spools them; either way they can be used.
    pub(super) async fn keep(
        &self,
        connection: &Connection,
        redemption: Redemption,
        minted: Minted,
    ) -> Outcome {
        self.engine.misconfigured.clear(self.provider.name());
        let default_lifetime = self.provider.default_lifetime(&account_of(connection));
        let tokens = self
            .engine
            .vault
            .seal_minted(connection, &minted, default_lifetime);
        let renewed = Renewed {
            grant: GrantId::random(&*self.engine.random),
            tokens,
            redemption,
            scope: minted.scope.clone(),
            external_id: minted.account.external_id.clone(),
            organization: minted.account.organization.clone(),
        };
        let fence = Fence::of(connection);
        let read_after = self.news();
        self.listen();
        match self.commit(&fence, &renewed).await {
            Ok(Committed::Stored(stored)) => {
                self.tell_issued(connection, &minted);
                self.adopted(&stored, self.news())
            }
            // Carried out twice, by a spool that was offered meanwhile.
            Ok(Committed::Superseded(newer)) if renewed.is_in(&newer, &fence) => {
                self.tell_issued(connection, &minted);
                self.adopted(&newer, self.news())
            }
            Ok(Committed::Superseded(newer)) => {
                // Nobody will use what was minted for a connection that was made anew meanwhile, or
                // for an account that the user has left.
                let other = account_of(&newer).is_other_than(&account_of(connection));
                if newer.id != connection.id || other {
                    self.revoke(&minted).await;
                }
                self.adopted(&newer, self.news())
            }
            Ok(Committed::Gone) => {
                self.revoke(&minted).await;
                Err(self.gone())
            }
            Err(error) => {
                self.engine.store_failed(&self.entry.key, &error);
                self.engine
                    .spool_renewal(Spooled::new(&fence, renewed))
                    .await;
                self.tell_issued(connection, &minted);
                self.adopted(connection, read_after)
            }
        }
    }

    async fn commit(&self, fence: &Fence, renewed: &Renewed) -> Result<Committed, store::Error> {
        let mut commit = pin!(self.engine.store.commit(fence, renewed.clone()));
        if let Ok(prompt) = timeout(PROMPT, &mut commit).await {
            return prompt;
        }
        let meanwhile = self
            .engine
            .keep_meanwhile(Spooled::new(fence, renewed.clone()));
        let (answer, spooled) = tokio::join!(commit, meanwhile);
        if answer.is_ok() {
            self.engine.settle(&spooled).await;
        }
        answer
    }

    /// The connection was removed while its tokens were minted: nobody will use them.
    async fn revoke(&self, minted: &Minted) {
        let token = minted.refresh.as_ref().unwrap_or(&minted.access);
        self.engine.revoke(self.provider, token).await;
    }

    /// Tells of a token that is kept as the generation after the one of `connection`.
    fn tell_issued(&self, connection: &Connection, minted: &Minted) {
        let generation = connection.generation.next();
        self.engine.tell_issued(
            &connection.key,
            &account_of(connection),
            generation,
            &minted.access,
        );
    }

    /// The token in memory after the store, or the spool, has shown the newest.
    pub(super) fn adopted(&self, connection: &Connection, news: News) -> Outcome {
        self.engine.adopt(self.entry, connection, news)?;
        self.entry
            .held()
            .ok_or_else(|| self.failed(STORE_REST, "the renewed token could not be read back"))
    }
}
