package double

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// description is GitHub's, cut down; see testdata/README.md.
//
//go:embed testdata/github-openapi-23.0.2.json
var description []byte

// rules are GitHub's description of its API.
type rules struct{ router routers.Router }

func newRules() (*rules, error) {
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err != nil {
		return nil, fmt.Errorf("GitHub's description: %w", err)
	}
	doc.Servers = nil // any host
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("GitHub's description: %w", err)
	}
	return &rules{router}, nil
}

// request returns what the description forbids of a request.
func (r *rules) request(in *http.Request, body []byte) error {
	input, err := r.input(in, body)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateRequest(in.Context(), input)
}

// answer returns what the description forbids of an answer. It describes
// successes; refusals have no schema there.
func (r *rules) answer(in *http.Request, body []byte, out *httptest.ResponseRecorder) error {
	if out.Code >= 300 {
		return nil
	}
	input, err := r.input(in, body)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateResponse(in.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: out.Code, Header: out.Header(),
		Body:    io.NopCloser(bytes.NewReader(out.Body.Bytes())),
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	})
}

func (r *rules) input(in *http.Request, body []byte) (*openapi3filter.RequestValidationInput, error) {
	copied := in.Clone(in.Context())
	copied.Body = io.NopCloser(bytes.NewReader(body))
	copied.ContentLength = int64(len(body))
	copied.URL = &url.URL{Path: in.URL.Path, RawPath: in.URL.RawPath, RawQuery: in.URL.RawQuery}
	route, params, err := r.router.FindRoute(copied)
	if err != nil {
		return nil, fmt.Errorf("not in GitHub's description: %w", err)
	}
	return &openapi3filter.RequestValidationInput{Request: copied, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}, nil
}
