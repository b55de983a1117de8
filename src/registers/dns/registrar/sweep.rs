//! The leases of the others: what has expired is taken out.

use std::net::IpAddr;

use domain::base::iana::Rtype;
use tokio::time::Instant;

use super::Registrar;
use crate::registers::dns::claim::Claim;
use crate::registers::dns::client::{Dns, Outcome};
use crate::registers::dns::fault::Fault;
use crate::registers::dns::lease;
use crate::registers::dns::phase;
use crate::registers::dns::wire::name;
use crate::registers::dns::wire::update::Data;

impl<D: Dns> Registrar<D> {
    /// Looks at the leases of all who are in DNS, or of some when they are many.
    pub(super) async fn sweep(&mut self, me: &Claim) -> Result<(), Fault> {
        let Some(lease) = self.config.lease else { return Ok(()) };
        let mut present = Vec::new();
        for rtype in [Rtype::A, Rtype::AAAA] {
            present
                .extend(self.client.data(&me.shared, rtype).await?.iter().filter_map(Data::addr));
        }
        for addr in self.patrol.choose(&present, self.luck()) {
            let Some(lease_name) = name::of_leases(addr, &me.shared) else { continue };
            let texts = self.client.texts(&lease_name).await?;
            let now = Instant::now().into_std();
            let mut expired = self.patrol.observe(addr, &texts, now, lease / 4);
            expired.retain(|text| addr != me.addr || !me.is_mine(text));
            if expired.is_empty() {
                continue;
            }
            let update = me.sweep(addr, &texts, expired.clone());
            if self.client.update(&update).await? == Outcome::Done {
                self.notices.swept(addr, &me.shared);
                let (gone, kept): (Vec<_>, Vec<_>) =
                    texts.iter().partition(|text| expired.contains(text));
                self.delete_ptrs(addr, &gone, &kept).await?;
            }
        }
        Ok(())
    }

    /// Takes out the PTR records of the leases that are `gone`, but for those that one of the leases
    /// that are `kept` lists.
    async fn delete_ptrs(
        &mut self,
        addr: IpAddr,
        gone: &[&Vec<u8>],
        kept: &[&Vec<u8>],
    ) -> Result<(), Fault> {
        let kept: Vec<_> = lease::ptrs(kept.iter().copied()).collect();
        let gone = lease::ptrs(gone.iter().copied()).filter(|target| !kept.contains(target));
        let Some(reverse) = name::reverse(addr) else { return Ok(()) };
        let changes: Vec<_> = gone.map(|target| phase::delete_ptr(&reverse, &target)).collect();
        if !changes.is_empty() {
            self.update_reverse(&reverse, changes).await?;
        }
        Ok(())
    }
}
