// Command flanneld runs flannel's own packages with the Kubernetes subnet manager: the pod network that k3s embeds and that the lab's
// kubeadm system runs as a DaemonSet. Upstream's main also links an etcd client and cloud SDKs, which cannot be fetched here; flags that
// exist upstream keep their names and meaning.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/hostgw"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	"github.com/flannel-io/flannel/pkg/ip"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"github.com/flannel-io/flannel/pkg/trafficmngr/iptables"
)

const (
	annotationPrefix = "flannel.alpha.coreos.com"
	// A node gets its pod CIDR from the controller manager some seconds after the kubelet registered it.
	registrationTimeout = 5 * time.Minute
	registrationRetry   = time.Second
	iptablesResync      = 5 // seconds, upstream's default
)

type options struct {
	kubeSubnetManager bool
	kubeconfigFile    string
	netConfPath       string
	iface             string
	subnetFile        string
	cniConf           string
	ipMasq            bool
}

func parseOptions(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("flanneld", flag.ContinueOnError)
	flags.BoolVar(&o.kubeSubnetManager, "kube-subnet-mgr", true, "take the subnet from the Node object; the only subnet manager of this build")
	flags.StringVar(&o.kubeconfigFile, "kubeconfig-file", "", "kubeconfig; empty means the pod's service account")
	flags.StringVar(&o.netConfPath, "net-config-path", "/etc/kube-flannel/net-conf.json", "network configuration file")
	flags.StringVar(&o.iface, "iface", "", "interface between the hosts, by name or address; empty means the default route's")
	flags.StringVar(&o.subnetFile, "subnet-file", "/run/flannel/subnet.env", "file that gets this node's subnet and MTU")
	flags.StringVar(&o.cniConf, "cni-conf", "", "write a CNI configuration list for this node's subnet (not an upstream flag)")
	flags.BoolVar(&o.ipMasq, "ip-masq", false, "masquerade traffic that leaves the pod network, needs iptables; without it the bridge plugin masquerades")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if !o.kubeSubnetManager {
		return o, errors.New("--kube-subnet-mgr=false: this build has no etcd subnet manager")
	}
	return o, nil
}

func main() {
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opts); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// run joins the pod network and follows the other nodes until the context ends. Devices and routes stay, so that running pods keep
// their network while this process restarts.
func run(ctx context.Context, opts options) error {
	manager, err := kube.NewSubnetManager(ctx, "", opts.kubeconfigFile, annotationPrefix, opts.netConfPath, true)
	if err != nil {
		return err
	}
	config, err := manager.GetNetworkConfig(ctx)
	if err != nil {
		return err
	}
	family, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return err
	}
	external, err := ipmatch.LookupExtIface(opts.iface, "", "", family, ipmatch.PublicIPOpts{})
	if err != nil {
		return fmt.Errorf("interface %q: %w", opts.iface, err)
	}
	chosen, err := backend.NewManager(ctx, manager, external).GetBackend(config.BackendType)
	if err != nil {
		return err
	}
	var tasks sync.WaitGroup
	network, err := register(ctx, chosen, &tasks, config)
	if err != nil {
		return err
	}
	lease := network.Lease()
	if opts.ipMasq {
		rules := &iptables.IPTablesManager{}
		if err := rules.Init(ctx); err != nil {
			return err
		}
		// The lease comes from the Node, so there is no previous one to take over: equal values leave existing rules alone.
		if err := rules.SetupAndEnsureMasqRules(ctx, config.Network, lease.Subnet, config.Network,
			ip.IP6Net{}, ip.IP6Net{}, ip.IP6Net{}, lease, iptablesResync, false); err != nil {
			return err
		}
		rules.SetupAndEnsureForwardRules(ctx, config.Network, ip.IP6Net{}, iptablesResync)
	}
	if err := manager.HandleSubnetFile(opts.subnetFile, config, opts.ipMasq, lease.Subnet, lease.IPv6Subnet, network.MTU()); err != nil {
		return err
	}
	if opts.cniConf != "" {
		if err := writeCNIConfiguration(opts.cniConf, lease.Subnet.String(), network.MTU(), !opts.ipMasq); err != nil {
			return err
		}
	}
	if err := manager.CompleteLease(ctx, lease, &tasks); err != nil {
		return err
	}
	log.Printf("subnet %v, MTU %d, interface %s (%v)", lease.Subnet, network.MTU(), external.Iface.Name, external.IfaceAddr)
	network.Run(ctx)
	tasks.Wait()
	return nil
}

// register retries while the node has no pod CIDR yet or the API does not answer.
func register(ctx context.Context, chosen backend.Backend, tasks *sync.WaitGroup, config *subnet.Config) (backend.Network, error) {
	deadline := time.Now().Add(registrationTimeout)
	for {
		network, err := chosen.RegisterNetwork(ctx, tasks, config)
		if err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return network, err
		}
		log.Printf("not registered yet: %v", err)
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(registrationRetry):
		}
	}
}
