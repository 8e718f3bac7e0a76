// Package engine keeps a grant alive: it decides when a refresh token may be
// presented, presents it at most as often as the protocol allows, and makes
// the reply durable before anybody gets the access token.
//
// # The problem
//
// A refresh token that rotates is a baton: the provider takes it, and the only
// copy of the next one is in the reply. A login dies when the reply is lost,
// when it is not saved, or when two processes present the same token and the
// provider revokes the family (RFC 9700 §4.14).
//
// # One record, one primitive
//
// A grant has one record. Its store offers Load and Swap (compare-and-swap),
// and nothing else: lock, write-ahead intent and fencing are one write,
// because the lease is a field of the record. [grant.Doubt] counts, before
// each send, that a send may happen; it outlives every lease and is ended by an
// answer only.
//
// # Deciding
//
// [Next] is a pure function and a table:
//
//	row             when                                                        do
//	1 retired       the grant was logged out                                    Refuse
//	2 newer         alive, and its generation is above First and After          Serve
//	2 life          alive, above After, not forced, life ≥ min(MinTTL, 90 %)    Serve
//	2a revoking     2, but a refresh ends it and another's lease runs           Wait
//	2b              2, but a grace runs for a doubt and no foreign lease        go to 6
//	3 needs consent a person must sign in                                       Refuse
//	4 lease         another's lease runs                                        Wait
//	4 clock fault   it ends later than any correct clock could say              Wait, watching only
//	5 raw           an unreadable reply is kept, no grace runs, reuse not safe  Refuse
//	6 grace now     in doubt, the grace runs, calm and (replaces) quiet passed  Recover
//	6 grace later   in doubt, the grace runs                                    Wait
//	6 doubt now     in doubt, calm and the doubled quiet time passed            Recover
//	6 doubt later   in doubt                                                    Wait
//	7 take          otherwise                                                   Take
//
// "Alive" means by more than the skew. Where a refresh ends the running token
// (RevokesAccess), a token in doubt or after a rejection does not meet the
// ask. Rows 5 and 6 do not apply where reuse is safe. 2b does not apply once the
// consent ended: no recovery is possible then, so row 2 serves. Inside a grace
// a kept reply does not stand in the way: to ask again is better than a person.
//
// The quiet time is Quiet · 2^(Sends−1), at most QuietMax, after the last
// counting Swap. The send of a holder whose process is known to be gone needs
// none, so it is left out of Sends; the sends before it keep theirs. After the
// send of one that is known to live, stopped perhaps, it is QuietMax.
//
// Where all sends of the token in doubt are this call's own, its clock alone
// counts, and no other machine can hold a reply: at most a quarter of the grace is
// left for the request's own time, and nothing is watched first. A send that is
// dated later than any correct clock could have done has no grace, and counts as
// one of when this process first saw it, plus Skew.
//
// A good token that only a recovery comes before (2b) is served at once if that
// recovery fails, whatever the reason.
//
// A token that was obtained later than any correct clock says it is now does
// not have enough life, whatever its record says of its end (row 2 life).
//
// # Refreshing
//
//  1. Load. Absent, unreadable and unavailable are three outcomes; only absent
//     may create. A store that is away is waited for, one that refuses is not,
//     unless a token is out. What this machine's spill holds is offered to the store after
//     each successful Load, before deciding.
//  2. Connect to the provider. Then decide again: a grace may have ended.
//  3. Take the lease by a Swap that counts the send. If that Swap is not
//     definite, nothing is sent.
//  4. Send one request on that connection, inside the lease's window: not in
//     its last Tail, measured from before the lease Swap by the larger of
//     monotonic and wall time. Nothing is resent beneath us.
//  5. Classify the failure by [grant.Fate]. Unspent and Refused restore the
//     record as it was; InDoubt releases the lease and leaves the doubt;
//     Rejected is believed after another Load, and writes NeedsConsent.
//  6. Save first: spill, then Swap, by the conflict rule ([Resolve]) to the end
//     of the lease, each try as long as the store needs. Cancellation no longer
//     counts, but to hurry the block. In the last third, as soon
//     as one Swap failed after a cancellation, or when the store has said three
//     times that it wrote nothing, the rescue block is printed.
//  7. Then the caller gets the token.
//
// A Swap of unknown outcome is settled by repeating it; on conflict, the
// record is ours if its Writer is ours. Giving up on an unknown lease swaps
// the same old version to a released record, so that the lease cannot land
// later.
//
// # Signing in and out
//
// A sign-in yields tokens that a person would have to sign in for again, so it is
// saved as a refresh is: [Engine.Expect] finds out beforehand what can be known,
// and [Arrival.Save] spills, swaps and prints the rescue block. It waits for no
// lease. It goes over whatever record is there, but not over another account's
// grant that lives. The record notes in Replaces which consent it was written over, so that
// the conflict rule puts one that was saved late over that one, and over no other.
//
// [Engine.Retire] takes the lease, has the token revoked, and leaves a record
// without tokens and with a consent of its own: what belongs to the old consent
// is stale from then on, and a sign-in over the logout is not.
//
// # What is not promised
//
// Fencing guards the store, not the provider: a process that is paused between
// the window check and its first byte can spend late. A strict provider that
// acted on a request whose reply was lost needs a new consent; nobody can do
// better. Package sim measures both.
package engine
