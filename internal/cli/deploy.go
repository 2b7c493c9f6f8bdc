package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"lofn"
	"lofn/client"
	"lofn/internal/build"
	"lofn/internal/stack"
)

// deployFlags are the flags of `deploy`, which `up` has too.
type deployFlags struct {
	target
	process                                       string
	env, labels, annotations, secrets, constraint []string
	readonly, replace, update, readTemplate, wait bool
	limits, requests                              lofn.Resources
	timeout                                       time.Duration
}

func (p *program) deployCommand() *cobra.Command {
	d, source := deployFlags{target: target{p: p}}, sourceFlags{p: p}
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Deploy functions whose images are in a registry",
		Long: `Deploys the functions of the stack file, or one that flags describe. A function
that exists is updated: its old instances serve until the new ones are ready.

As with faas-cli the command returns when the platform accepted the functions;
--wait goes on until they are ready, and says why if they do not get there.`,
		Example: `  lofn deploy --wait
  lofn deploy -f stack.yml --filter 'api-*' --env LOG_LEVEL=debug
  lofn deploy --image registry.example.org/hello:1.2 --name hello`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := source.load(cmd)
			if err != nil {
				return err
			}
			return d.run(cmd, s, source.tag)
		},
	}
	d.addGateway(cmd)
	source.add(cmd)
	d.add(cmd, false)
	return cmd
}

// add adds the flags but for those of target and sourceFlags.
func (d *deployFlags) add(cmd *cobra.Command, wait bool) {
	flags := cmd.Flags()
	flags.StringVarP(&d.namespace, "namespace", "n", "", "namespace of the functions, over the stack file's")
	flags.StringVar(&d.process, "fprocess", "", "command line to run, of a function without a stack file")
	flags.StringArrayVarP(&d.env, "env", "e", nil, "environment variable, NAME=VALUE; may be repeated")
	flags.StringArrayVarP(&d.labels, "label", "l", nil, "label, NAME=VALUE; may be repeated")
	flags.StringArrayVar(&d.annotations, "annotation", nil, "annotation, NAME=VALUE; may be repeated")
	flags.StringArrayVar(&d.secrets, "secret", nil, "secret that the function may read; may be repeated")
	flags.StringArrayVar(&d.constraint, "constraint", nil, "where the function may run, NAME=VALUE; may be repeated")
	flags.BoolVar(&d.readonly, "readonly", false, "make the root file system read-only")
	flags.BoolVar(&d.replace, "replace", false, "remove functions that exist and create them anew")
	flags.BoolVar(&d.update, "update", true, "update functions that exist, without a gap in service")
	flags.BoolVar(&d.readTemplate, "read-template", true, "take the command line from a template in ./template")
	flags.BoolVar(&d.wait, "wait", wait, "wait until the functions are ready")
	flags.DurationVar(&d.timeout, "timeout", apiTimeout, "how long a request, and getting ready without progress, may take")
	flags.StringVar(&d.limits.Memory, "memory-limit", "", "most memory an instance may use, such as 128Mi")
	flags.StringVar(&d.limits.CPU, "cpu-limit", "", "most CPU an instance may use, such as 500m")
	flags.StringVar(&d.requests.Memory, "memory-request", "", "memory to set aside for an instance")
	flags.StringVar(&d.requests.CPU, "cpu-request", "", "CPU to set aside for an instance")
	hidden(cmd, "network")
}

// hidden accepts flags of faas-cli that mean nothing here.
func hidden(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		cmd.Flags().String(name, "", "has no effect")
		cmd.Flags().Lookup(name).NoOptDefVal = "true"
		_ = cmd.Flags().MarkHidden(name)
	}
}

// run deploys every function. It goes on after one that is refused, so that
// all that is wrong is seen at once, and fails then.
func (d *deployFlags) run(cmd *cobra.Command, s *stack.Stack, tag string) error {
	if d.replace && d.update && cmd.Flags().Changed("update") {
		return errors.New("--replace and --update cannot be given together: --update changes what exists, --replace removes it first")
	}
	c, err := d.connect(cmd)
	if err != nil {
		return err
	}
	d.p.warnPlain(c.URL())
	var deployed []lofn.Ref
	var refused []string
	for _, f := range s.Functions {
		deployment, err := d.deployment(cmd, f, tag)
		if err != nil {
			return err
		}
		err = d.deploy(cmd.Context(), c, deployment)
		switch lofn.CodeOf(err) {
		case lofn.Unauthenticated, lofn.Unavailable, lofn.DeadlineExceeded:
			return err
		}
		if err != nil {
			refused = append(refused, f.Name)
			d.p.notef("%s: not deployed: %v\n", f.Name, err)
			continue
		}
		deployed = append(deployed, lofn.Ref{Namespace: deployment.Namespace, Name: deployment.Service})
	}
	if d.wait {
		err = d.awaitAll(cmd.Context(), c, deployed)
	}
	if len(refused) == 0 || cmd.Context().Err() != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w; %w", &undone{refused, "was not deployed"}, err)
	}
	return &undone{refused, "was not deployed"}
}

// deploy deploys one function and prints where it is.
func (d *deployFlags) deploy(ctx context.Context, c *client.Client, deployment lofn.Deployment) error {
	created, err := d.put(ctx, c, deployment)
	if err != nil {
		return err
	}
	done := "updated"
	if created {
		done = "created"
	}
	ref := lofn.Ref{Namespace: deployment.Namespace, Name: deployment.Service}
	d.p.outf("Deployed: %s (%s)\nURL: %s\n", display(ref), done, functionURL(c, ref, "function"))
	return nil
}

func (d *deployFlags) put(ctx context.Context, c *client.Client, deployment lofn.Deployment) (created bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if !d.replace && d.update {
		return c.Deploy(ctx, deployment)
	}
	if d.replace {
		err := c.Remove(ctx, lofn.Ref{Namespace: deployment.Namespace, Name: deployment.Service})
		if err != nil && lofn.CodeOf(err) != lofn.NotFound {
			return false, err
		}
	}
	return true, c.Create(ctx, deployment)
}

// deployment is what the stack file says of a function, with the flags on top.
func (d *deployFlags) deployment(cmd *cobra.Command, f stack.Function, tag string) (lofn.Deployment, error) {
	deployment, err := f.Deployment("")
	if err != nil {
		return deployment, err
	}
	if deployment.Image, err = d.p.image(cmd, f, tag); err != nil {
		return deployment, err
	}
	deployment.Namespace = d.namespaceOf(f.Namespace)
	if d.process != "" {
		deployment.EnvProcess = d.process
	}
	if deployment.EnvProcess == "" && d.readTemplate {
		deployment.EnvProcess = templateProcess(f)
	}
	if len(deployment.Constraints) == 0 {
		deployment.Constraints = d.constraint
	}
	for _, secret := range d.secrets {
		if !slices.Contains(deployment.Secrets, secret) {
			deployment.Secrets = append(deployment.Secrets, secret)
		}
	}
	deployment.ReadOnlyRootFilesystem = deployment.ReadOnlyRootFilesystem || d.readonly
	deployment.Limits = resourcesOver(deployment.Limits, d.limits)
	deployment.Requests = resourcesOver(deployment.Requests, d.requests)
	if err := d.addPairs(&deployment); err != nil {
		return deployment, err
	}
	// What `up` has built for is what it deploys for.
	if flag := cmd.Flags().Lookup("runtime"); flag != nil && flag.Changed {
		deployment.Annotations = merged(deployment.Annotations, map[string]string{lofn.AnnotationRuntime: flag.Value.String()})
	}
	return deployment, nil
}

func (d *deployFlags) addPairs(deployment *lofn.Deployment) error {
	for _, field := range []struct {
		flag   string
		values []string
		into   *map[string]string
	}{
		{"env", d.env, &deployment.EnvVars},
		{"label", d.labels, &deployment.Labels},
		{"annotation", d.annotations, &deployment.Annotations},
	} {
		over, err := pairs(field.flag, field.values)
		if err != nil {
			return err
		}
		*field.into = merged(*field.into, over)
	}
	return nil
}

func resourcesOver(base *lofn.Resources, over lofn.Resources) *lofn.Resources {
	if over == (lofn.Resources{}) {
		return base
	}
	var out lofn.Resources
	if base != nil {
		out = *base
	}
	if over.Memory != "" {
		out.Memory = over.Memory
	}
	if over.CPU != "" {
		out.CPU = over.CPU
	}
	return &out
}

// templateProcess is the command line of a template that was pulled into this
// folder. What lofn's own templates run is in the image already.
func templateProcess(f stack.Function) string {
	if f.Lang == "" || isDockerfile(f) {
		return ""
	}
	if _, err := os.Stat(filepath.Join("template", f.Lang)); err != nil {
		return ""
	}
	template, err := build.FindTemplate("", f.Lang)
	if err != nil || template.BuiltIn || !template.Dockerfile {
		return ""
	}
	return template.Process
}
