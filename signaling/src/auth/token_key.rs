//! The key of tokens, which may be renewed while we run: who is in stays in, and tokens of the old key open
//! no session any more, unless it is where `auth.token_key_old` says.

use super::AuthError;
use super::token::TokenReader;
use crate::config::Auth;
use crate::renewal::Secret;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// The settings, and the reader with the key in use.
#[derive(Clone)]
pub(super) struct TokenKey {
    settings: Arc<Auth>,
    reader: Arc<RwLock<Arc<TokenReader>>>,
}

impl TokenKey {
    /// # Errors
    /// The key file cannot be read or is not what the algorithm needs.
    pub(super) fn new(settings: &Auth) -> Result<Self, AuthError> {
        let reader = Arc::new(TokenReader::new(settings)?);
        Ok(Self { settings: Arc::new(settings.clone()), reader: Arc::new(RwLock::new(reader)) })
    }

    pub(super) fn reader(&self) -> Arc<TokenReader> {
        Arc::clone(&self.reader.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Secret for TokenKey {
    fn name(&self) -> &'static str {
        "the key of tokens"
    }

    fn files(&self) -> Vec<PathBuf> {
        let old = self.settings.token_key_old.iter().filter(|path| path.exists());
        self.settings.token_key.iter().chain(old).cloned().collect()
    }

    fn take(&self) -> Result<(), String> {
        let reader = TokenReader::new(&self.settings).map_err(|why| why.to_string())?;
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(reader);
        Ok(())
    }
}
