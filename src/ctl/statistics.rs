//! `vkmpsctl statistics`.

use crate::error::Error;
use crate::output::Format;
use crate::service::Service;
use crate::table::{Align, Table};
use crate::text::escape;
use std::collections::BTreeMap;

/// All counters by name.
pub(crate) async fn run(service: &Service, format: Format) -> Result<(), Error> {
    let counters = service.manager().get_statistics().await?;
    let counters: BTreeMap<String, u64> = counters.into_iter().collect();
    format.show(&counters, |paint| {
        let mut table = Table::new([("COUNTER", Align::Left), ("VALUE", Align::Right)]);
        for (name, value) in &counters {
            table.row([escape(name), value.to_string()]);
        }
        table.lines(paint).join("\n") + "\n"
    })
}
