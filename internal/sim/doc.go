// Package sim runs the engine in a seeded world of processes that crash,
// stores that answer "unknown" and providers that lose replies, and judges
// every run by the provider's own ledger. It holds tests only.
//
// Time is virtual (testing/synctest). Each simulated I/O takes a delay that no
// other pending one shares, so at any instant one goroutine runs, and a seed
// replays exactly.
package sim
