package bpf

import (
	"fmt"
	"time"
)

// Proof says whether the source of a SYN proves its address before the SYN wakes a
// site, by the end of a handshake that the data path begins itself (src/proof.h).
type Proof string

// ProofAuto asks for it while more SYNs are held than handshakes follow.
const (
	ProofOff    Proof = "off"
	ProofAuto   Proof = "auto"
	ProofAlways Proof = "always"
)

// trusted is how many SYNs ProofAuto holds of which no handshake has come yet. One
// that does gives its token back.
var trusted = Rate{Burst: 64, Every: time.Second}

var proofModes = map[Proof]dpFcProofMode{
	ProofOff: dpFcProofModeFC_PROOF_OFF, ProofAuto: dpFcProofModeFC_PROOF_AUTO, ProofAlways: dpFcProofModeFC_PROOF_ALWAYS,
}

// setProof leaves what the programs have noted: who was asked by an earlier daemon may
// answer this one.
func (d *Datapath) setProof(p Proof, trust Rate) error {
	mode, ok := proofModes[p]
	if !ok {
		return fmt.Errorf("ask for proofs of address %q: there is no such way", p)
	}
	var s dpFcProof
	if err := d.objs.FcProofs.Lookup(uint32(0), &s); err != nil {
		return fmt.Errorf("read what is asked of sources: %w", err)
	}
	s.Mode, s.Trust = uint32(mode), trust.raw()
	if err := d.objs.FcProofs.Put(uint32(0), s); err != nil {
		return fmt.Errorf("write what is asked of sources: %w", err)
	}
	return nil
}
