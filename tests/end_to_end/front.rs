//! The one address at which providers and browsers reach however many sidecars there are, as a cluster's
//! ingress is one: each connection goes to the first of them that answers.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// A port that passes connections on. It ends with the test's runtime.
pub(crate) struct Front {
    pub(crate) url: String,
    behind: Arc<Mutex<Vec<String>>>,
}

// === impl Front ===

impl Front {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let behind = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&behind);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let all: Vec<String> = all.lock().clone();
                tokio::spawn(async move {
                    for one in all {
                        if let Ok(mut sidecar) = TcpStream::connect(&one).await {
                            // One that was killed breaks the connection; so does this.
                            let _over = copy_bidirectional(&mut client, &mut sidecar).await;
                            return;
                        }
                    }
                });
            }
        });
        Self { url, behind }
    }

    /// From now on new connections go to the first of these that answers: `http://…` each.
    pub(crate) fn lead_to(&self, sidecars: &[&str]) {
        let addresses = sidecars
            .iter()
            .map(|url| url.strip_prefix("http://").unwrap().to_owned());
        *self.behind.lock() = addresses.collect();
    }
}
