// Package notify tells people what they should know of a grant: that its consent
// ends soon, that it needs a person, that a token is in doubt, that a record could
// not be saved, and that all is well again. Each is told once, and none ever costs
// a token: a notice comes after the call that it is about, is bounded in time, and
// fails with a warning.
//
// [Next] decides, purely, from what a call found ([Facts]) and from what was told
// before ([Told]). There are two kinds of receivers, which differ in where Told is
// kept:
//
//   - a [Hook] gets one POST for each notice. It remembers nothing, so Told is
//     kept in the record itself, as a member beside those of the protocol
//     ([Book]): a machine that lives for one job finds there what another machine
//     has told. Where the record cannot be written, Told lies on this machine.
//   - an [Issue] of the repository that a GitHub Actions job runs for. It
//     remembers by itself: Told is in its body.
//
// A notice is claimed before it is sent, by a Swap of the record that nobody else
// can win as well, and noted after it was sent by a second one. One that could not be
// sent is given back, and a later call sends it; a claim that nobody follows up is
// free again after a minute. A claim is made only while nobody holds the lease, so it can make
// somebody look again, and never stand in the way of a save.
package notify
