//! Masters that are killed or cut off, and slots that move, while requests claim their keys: how many
//! acknowledged claims are lost. The figures go to standard error, whatever the tests are run with.

mod cluster;
mod load;
mod sentinel;
mod server;
