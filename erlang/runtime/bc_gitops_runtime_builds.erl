%%% @doc Where the runtime gets builds from: the workspace, or the host's own code path.
-module(bc_gitops_runtime_builds).

-include("bc_gitops.hrl").

-export([prepare/2, find/1, lookup/2]).

-type failure() :: {error, {Kind :: atom(), Details :: term()}}.

-define(HOST_KEY, <<"host">>).

%% @doc Fetches and builds.
-spec prepare(#app_spec{}, bc_gitops_runtime:options()) -> {ok, bc_gitops_switch:build()} | failure().
prepare(#app_spec{name = Name} = Spec, Known) ->
    case from_host(Spec) of
        {ok, _} = Build -> Build;
        {error, _} = Error -> Error;
        not_found ->
            Options = maps:merge(options(Spec), Known),
            checked(Spec, bc_gitops_workspace:prepare(Name, source(Spec), Options))
    end.

%% @doc What was prepared for exactly this spec, else fetched and built now. One that was damaged
%% since it was prepared is an error; preparing it makes it anew.
-spec find(#app_spec{}) -> {ok, bc_gitops_switch:build()} | failure().
find(#app_spec{name = Name} = Spec) ->
    case from_host(Spec) of
        {ok, _} = Build -> Build;
        {error, _} = Error -> Error;
        not_found ->
            case bc_gitops_workspace:prepared(Name, source(Spec)) of
                {ok, #{version := Version} = Build} when Version =:= Spec#app_spec.version ->
                    whole(Build);
                _ ->
                    checked(Spec, bc_gitops_workspace:prepare(Name, source(Spec), options(Spec)))
            end
    end.

%% @doc A build that is on disk.
-spec lookup(#app_spec{}, binary()) -> {ok, bc_gitops_switch:build()} | failure().
lookup(Spec, ?HOST_KEY) ->
    case from_host(Spec) of
        not_found -> {error, {build_not_found, #{app => Spec#app_spec.name, key => ?HOST_KEY}}};
        Found -> Found
    end;
lookup(Spec, Key) ->
    case bc_gitops_workspace:lookup(Key) of
        {ok, Build} -> checked(Spec, whole(Build));
        {error, not_found} -> {error, {build_not_found, #{app => Spec#app_spec.name, key => Key}}}
    end.

%% What is damaged is found out here, before anything is stopped for it.
whole(Build) ->
    case bc_gitops_workspace:check(Build) of
        ok -> {ok, Build};
        {error, _} = Error -> Error
    end.

source(#app_spec{source = undefined}) -> #source_spec{};
source(#app_spec{source = Source}) -> Source.

options(#app_spec{version = Version}) ->
    #{version => Version, timeout => maps:get(build_timeout, bc_gitops_config:current())}.

%% The version in the spec is a claim about the application; the .app file says what it is.
checked(#app_spec{version = Version}, {ok, #{version := Version} = Build}) ->
    {ok, Build};
checked(#app_spec{version = Wanted}, {ok, #{version := Found}}) ->
    {error, {version_mismatch, #{spec => Wanted, app => Found}}};
checked(_Spec, {error, _} = Error) ->
    Error.

%% An application that stands on the host's own code path is started from there when its version
%% fits; the host's code is never replaced by another version.
from_host(#app_spec{name = Name, version = Wanted}) ->
    case {bc_gitops_host:protected(Name, []), bc_gitops_host:application(Name)} of
        {{true, Why}, _} ->
            %% whatever version it asks for, and wherever that could be had
            {error, {protected_application, #{app => Name, reason => Why, wanted => Wanted}}};
        {false, not_found} ->
            not_found;
        {false, {ok, #{version := Wanted, path := Path}}} ->
            host_build(Name, Wanted, Path);
        {false, {ok, #{version := Found, path := Path}}} ->
            {error, {host_application, #{
                app => Name, wanted => Wanted, found => Found, path => Path}}}
    end.

host_build(Name, Version, Path) ->
    case bc_gitops_host:content(Path) of
        {ok, Content} ->
            %% The host's own files: their names may become atoms.
            Modules = [{binary_to_atom(Module), MD5} || {Module, MD5} <- maps:to_list(Content)],
            Lib = #{name => Name, version => Version, path => Path,
                    modules => maps:from_list(Modules), on_host => true},
            {ok, #{key => ?HOST_KEY, app => Name, version => Version, revision => <<"host">>,
                   tool => host, path => Path, libs => [Lib]}};
        {error, _} = Error ->
            Error
    end.
