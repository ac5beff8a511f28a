package wechat

import (
	"errors"
	"net/http"
	"os"
	"sync"

	"github.com/silenceper/wechat/v2/util"
	"github.com/sirupsen/logrus"
)

// sdk guards the SDK's package variables, which are process-wide whether we like it or not.
var sdk struct {
	sync.Mutex
	client *http.Client
}

// ErrSecondClient says that the SDK already sends through another client.
var ErrSecondClient = errors.New("wechat: this process already uses another HTTP client; share one provider.Network client")

// useClient makes the SDK send through client and keeps it from writing personal data: at debug level it logs whole
// callbacks, and it starts at debug level on standard output, where commands print their results.
func useClient(client *http.Client) error {
	sdk.Lock()
	defer sdk.Unlock()
	logrus.SetLevel(logrus.WarnLevel)
	logrus.SetOutput(os.Stderr)
	switch sdk.client {
	case client:
		return nil
	case nil:
		sdk.client, util.DefaultHTTPClient = client, client
		return nil
	default:
		return ErrSecondClient
	}
}
