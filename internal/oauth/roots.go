package oauth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
)

// roots are the certificates of one file, on their way into a pool.
//
// The system's pool of crypto/x509 holds the bundle and every file in the
// system's folders, which repeat the bundle one by one; to read them takes
// several times as long as a whole refresh. The bundle alone nearly always
// does. When a certificate cannot be verified with it, [network.open] starts
// anew with the system's pool: what is trusted in the end is the same.
type roots struct {
	pool *x509.CertPool
	full <-chan struct{} // closed when pool holds all of the file
}

// bundle begins to read the roots to try first; nil: the system's pool at once.
// That is so when roots were given, when SSL_CERT_DIR names folders, and where
// no bundle is known or readable. SSL_CERT_FILE stands for the bundle.
func (n network) bundle() *roots {
	if n.tls != nil && n.tls.RootCAs != nil {
		return nil
	}
	files := n.bundles
	if files == nil {
		files = bundleFiles()
		switch named := os.Getenv("SSL_CERT_FILE"); {
		case len(files) == 0 || os.Getenv("SSL_CERT_DIR") != "":
			return nil
		case named != "":
			files = []string{named}
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		full := make(chan struct{})
		r := &roots{pool: x509.NewCertPool(), full: full}
		go func() { // ends by itself in milliseconds
			r.pool.AppendCertsFromPEM(text)
			close(full)
		}()
		return r
	}
	return nil
}

// unverified reports that a certificate did not lead to a root. It asks for
// nothing more exact: with fewer roots an expired one can stand in the way of
// one that is missing.
func unverified(err error) bool {
	var failure *tls.CertificateVerificationError
	return errors.As(err, &failure)
}

// patient holds back what the server says until the roots are there: they are
// looked at when its certificate has been read, never before. So they are made
// ready while the connection is.
type patient struct {
	net.Conn
	full <-chan struct{}
}

func (p patient) Read(b []byte) (int, error) {
	<-p.full
	return p.Conn.Read(b)
}
