package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"evergrant/internal/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"evergrant": func() { os.Exit(cli.Main(os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr)) },
		"counts":    countSignals,
	})
}

// TestScripts runs every script of testdata/script against the program, with a
// strict simulated provider per script. See world for the commands it adds.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Condition:           condition,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"eg":        cmdEvergrant,
			"together":  cmdTogether,
			"signalled": cmdSignalled,
			"unfed":     cmdUnfed,
			"unheard":   cmdUnheard,
			"breaks":    cmdBreaks,
			"fault":     cmdFault,
			"family":    cmdFamily,
			"client":    cmdClient,
			"revoke":    cmdRevoke,
			"asked":     cmdAsked,
			"alive":     cmdAlive,
			"waiting":   cmdWaiting,
			"snapshot":  cmdSnapshot,
			"unchanged": cmdUnchanged,
			"edit":      cmdEdit,
			"allow":     cmdAllow,
			"leaks":     cmdLeaks,
			"plant":     cmdPlant,
			"step":      cmdStep,
			"cutshort":  cmdCutShort,
			"github":    cmdGitHub,
			"hook":      cmdHook,
			"signs":     cmdSigns,
			"mends":     cmdMends,
			"odd":       cmdOdd,
			"findings":  cmdFindings,
			"disk":      cmdDisk,
			"state":     cmdState,
			"keeper":    cmdKeeper,
			"token":     cmdToken,
			"further":   cmdFurther,
			"socket":    cmdSocket,
			"asks":      cmdAsks,
			"signals":   cmdSignals,
			"unheld":    cmdUnheld,
		},
	})
}
