// Package provider describes authorization servers as data: where their token
// endpoint is, how a refresh is asked for, what a refresh does to the tokens
// before it, what their error codes mean and what their terms allow.
//
// A [Preset] is one YAML file. Thirty are embedded ([Names], [Lookup]); users
// bring their own ([Parse]); [Custom] is the preset of a provider that nobody
// described. All of them go the same way: [Preset.Behaviour] is what the engine
// must know, [Preset.Resolve] merges the user's settings into an [Endpoint].
//
// Three rules keep the data honest. A fact that no source states is left out,
// and what is left out has the cautious meaning: a spent token is fatal, a
// second answer replaces the first. Where sources disagree the preset takes the
// side that loses no login and says so in its notes. And a preset is tested
// against transcripts that were written from its sources, never against
// anything configured by the preset itself: see testdata/transcripts.
//
// The package has no code for any vendor. Where a vendor deviates, there is a
// field for the deviation.
package provider
