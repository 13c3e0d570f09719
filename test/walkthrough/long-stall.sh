while (true)
do
date
echo "Stalling for 100 seconds"
sudo echo '259:0 rbps=4 wbps=4' > /sys/fs/cgroup/system.slice/holdfast-engine.service/io.max
sleep 100
date
echo "Unstalling"
sudo echo '259:0 rbps=max wbps=max' > /sys/fs/cgroup/system.slice/holdfast-engine.service/io.max
sleep 10
date
exit
done
