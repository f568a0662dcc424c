use std::any::Any;
use std::sync::Arc;

use super::no_transaction::NoTransaction;
use crate::engine::{Joint, Lent, RunningClaim};
use crate::protocol::Claim;
use crate::store::postgres::{Lender, NotBegun};
use crate::store::{Effect, Error, ErrorKind, Operation, Transaction};

/// A transaction that a handler has, until this is dropped.
pub(super) struct Loan<T: Transaction> {
    claim: RunningClaim,
    /// There until it is dropped.
    transaction: Option<Box<T>>,
}

impl<T: Transaction> Loan<T> {
    /// The transaction of this claim: begun, or the one that was begun before and is not in use.
    pub(super) async fn take<'a, F>(
        claim: &'a RunningClaim,
        begin: impl FnOnce(Arc<Lender>, &'a Claim) -> F,
    ) -> Result<Self, NoTransaction>
    where
        F: Future<Output = Result<T, NotBegun>>,
    {
        let held = &claim.0;
        let joint = held.joint().ok_or_else(|| match held.is_protected() {
            true => NoTransaction::NoDatabase,
            false => NoTransaction::Unprotected,
        })?;
        match joint.lend().map_err(|_| NoTransaction::InUse)? {
            Lent::New => {
                // From here on it gives back what was lent, also if this is not waited for.
                let mut loan = Self { claim: claim.clone(), transaction: None };
                let transaction = begun(joint, held.claim(), begin).await?;
                loan.transaction = Some(Box::new(transaction));
                joint.join();
                Ok(loan)
            }
            Lent::Again(transaction) => {
                let ours: &dyn Any = &*transaction;
                if !ours.is::<T>() {
                    joint.give_back(Some(transaction));
                    return Err(NoTransaction::InUse);
                }
                let transaction: Box<dyn Any> = transaction;
                Ok(Self { claim: claim.clone(), transaction: transaction.downcast().ok() })
            }
        }
    }

    pub(super) fn claim(&self) -> &RunningClaim {
        &self.claim
    }

    pub(super) fn transaction(&self) -> &T {
        self.transaction.as_ref().expect("it is there until this is dropped")
    }

    #[cfg(feature = "sqlx")]
    pub(super) fn transaction_mut(&mut self) -> &mut T {
        self.transaction.as_mut().expect("it is there until this is dropped")
    }
}

async fn begun<'a, T, F>(
    joint: &Joint,
    claim: &'a Claim,
    begin: impl FnOnce(Arc<Lender>, &'a Claim) -> F,
) -> Result<T, NoTransaction>
where
    F: Future<Output = Result<T, NotBegun>>,
{
    let lender = joint.transactions.of::<Lender>().ok_or(NoTransaction::NoDatabase)?;
    match tokio::time::timeout(claim.attempt().lease, begin(lender, claim)).await {
        Ok(Ok(transaction)) => Ok(transaction),
        Ok(Err(NotBegun::Lost)) => Err(NoTransaction::ClaimLost),
        #[cfg(feature = "sqlx")]
        Ok(Err(NotBegun::NoPool)) => Err(NoTransaction::NoSqlxPool),
        Ok(Err(NotBegun::Failed(error))) => Err(NoTransaction::Unavailable(error)),
        Err(_) => {
            let error = Error::new(ErrorKind::TimedOut, Operation::Commit, Effect::None);
            Err(NoTransaction::Unavailable(error))
        }
    }
}

impl<T: Transaction> Drop for Loan<T> {
    fn drop(&mut self) {
        if let Some(joint) = self.claim.0.joint() {
            let transaction =
                self.transaction.take().map(|transaction| -> Box<dyn Transaction> { transaction });
            joint.give_back(transaction);
        }
    }
}
