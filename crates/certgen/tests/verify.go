// Verifies a chain with Go's own verifier, which is also es-gencert-cli's.
// usage: verify ROOT LEAF CHAIN USAGE NAME...; CHAIN holds intermediates and may be empty, USAGE is server or client.
package main

import (
	"crypto/x509"
	"encoding/pem"
	"log"
	"os"
)

func main() {
	read := func(name string) []byte {
		text, err := os.ReadFile(name)
		if err != nil {
			log.Fatal(err)
		}
		return text
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	options.Roots.AppendCertsFromPEM(read(os.Args[1]))
	options.Intermediates.AppendCertsFromPEM(read(os.Args[3]))
	options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if os.Args[4] == "server" {
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	block, _ := pem.Decode(read(os.Args[2]))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range append(os.Args[5:], "") {
		options.DNSName = name
		if _, err := leaf.Verify(options); err != nil {
			log.Fatal(name, ": ", err)
		}
	}
}
